// A handler may say that no attempt can help (SkipRetry buries the task), or that the task is no longer wanted (RevokeTask drops it).
// Wanted where retrying would only repeat a no, and where the world has moved on.
import { Injectable } from '@nestjs/common';
import { RevokeTask, SkipRetry, Task, type TaskHandler } from '@app/tasks';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { startWorker } from './support/worker.js';

const payload = z.object({ card: z.enum(['stolen', 'deleted']) });

@Injectable()
@Task({ type: 'billing.charge_card', payload })
class ChargeCard implements TaskHandler<z.output<typeof payload>> {
  async handle({ card }: z.output<typeof payload>): Promise<void> {
    if (card === 'stolen') throw new SkipRetry('the bank says that the card was stolen');
    throw new RevokeTask('its owner has deleted the card');
  }
}

it('buries what cannot succeed, and drops what is not wanted', async () => {
  const { tasks, admin, idle } = await startWorker([ChargeCard]);
  const { id } = await tasks.distribute(ChargeCard, { card: 'stolen' });
  await tasks.distribute(ChargeCard, { card: 'deleted' });
  await idle();
  expect(await admin.list({}, 10)).toMatchObject([{ id, state: 'dead', reason: 'retry skipped', failures: 1 }]);
});
