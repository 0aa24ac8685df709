import { RpcError } from '@app/rpc';
import { describe, expect, it } from 'vitest';
import { WrongGuesses } from './wrong-guesses.js';

const right = () => Promise.resolve(true);
const wrong = () => Promise.resolve(false);
const uncheckable = () => Promise.reject(RpcError.resourceExhausted('no room', { reason: 'TOO_MANY_LOG_INS', retryDelay: 1 }));

describe('wrong guesses', () => {
  it('are listened to so often, at each password by itself', async () => {
    const guesses = new WrongGuesses({ burst: 2, perMinute: 1 / 60 });
    expect([await guesses.listen('ada', wrong), await guesses.listen('ada', wrong)]).toEqual([false, false]);
    await expect(guesses.listen('ada', right)).rejects.toMatchObject({ reason: 'RATE_LIMIT_EXCEEDED' });
    expect(await guesses.listen('bob', right)).toBe(true);
  });

  it('are no more when many come at once', async () => {
    const guesses = new WrongGuesses({ burst: 2, perMinute: 1 / 60 });
    const answers = await Promise.allSettled(Array.from({ length: 5 }, () => guesses.listen('ada', wrong)));
    expect(answers.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'rejected', 'rejected']);
  });

  it('are neither right ones, nor those that nobody could check', async () => {
    const guesses = new WrongGuesses({ burst: 1, perMinute: 1 / 60 });
    for (const _ of [1, 2, 3]) {
      expect(await guesses.listen('ada', right)).toBe(true);
      await expect(guesses.listen('ada', uncheckable)).rejects.toMatchObject({ reason: 'TOO_MANY_LOG_INS' });
    }
    expect(await guesses.listen('ada', wrong)).toBe(false);
    await expect(guesses.listen('ada', wrong)).rejects.toMatchObject({ reason: 'RATE_LIMIT_EXCEEDED' });
  });
});
