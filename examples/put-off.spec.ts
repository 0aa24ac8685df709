// A handler that finds that it is too early says when to come back: that costs no retry.
// Wanted for polling, rate limits, opening hours.
import { Injectable } from '@nestjs/common';
import { RetryIn, Task, type TaskContext, type TaskHandler } from '@app/tasks';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { startWorker } from './support/worker.js';

const payload = z.object({ parcel: z.string() });
const looks: number[] = [];

@Injectable()
@Task({ type: 'shop.follow_parcel', payload, maxRetry: 0 })
class FollowParcel implements TaskHandler<z.output<typeof payload>> {
  async handle(_: z.output<typeof payload>, { attempt }: TaskContext): Promise<void> {
    looks.push(attempt);
    if (looks.length < 4) throw new RetryIn('50ms', 'the parcel is on its way');
  }
}

it('comes back as often as it wants, at no cost', async () => {
  const { tasks, idle } = await startWorker([FollowParcel]);
  await tasks.distribute(FollowParcel, { parcel: 'A1' });
  await idle();
  // It is the first attempt each time, although there is only one.
  expect(looks).toEqual([1, 1, 1, 1]);
});
