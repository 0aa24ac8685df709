/** argon2id alone, with the product's parameters and as many at a time as there are cores: the bound of every sign-up. */
import { hash } from '@node-rs/argon2';
import { availableParallelism } from 'node:os';
import { answer } from '../lib/contestant.ts';
import { now } from '../lib/clock.ts';
import { PASSWORD } from '../lib/password.ts';

const ARGON2ID = { memoryCost: 19 * 1024, timeCost: 2, parallelism: 1 };

answer({
  hash: async ({ count }: { count: number }) => {
    let next = 0;
    const startedAt = now();
    const work = async () => {
      while (next++ < count) await hash(PASSWORD, ARGON2ID);
    };
    await Promise.all(Array.from({ length: availableParallelism() }, work));
    return (now() - startedAt) / 1_000;
  },
});
