// A task may begin later, and may be worth nothing after some time.
// Wanted for reminders, and for mails that nobody wants to have an hour late.
import { Injectable } from '@nestjs/common';
import { Task, type TaskHandler } from '@app/tasks';
import { expect, it } from 'vitest';
import { z } from 'zod';
import { startWorker } from './support/worker.js';

const payload = z.object({ code: z.string() });
const sent: { code: string; at: number }[] = [];

@Injectable()
@Task({ type: 'login.send_code', payload, backoff: { type: 'fixed', delay: 60_000 } })
class SendCode implements TaskHandler<z.output<typeof payload>> {
  async handle({ code }: z.output<typeof payload>): Promise<void> {
    sent.push({ code, at: Date.now() });
    if (code === 'fails') throw new Error('no network');
  }
}

it('begins at its time, and is buried where the next attempt would come after the deadline', async () => {
  const { tasks, admin, idle } = await startWorker([SendCode]);
  const due = Date.now() + 500;
  await tasks.distribute(SendCode, { code: 'later' }, { processAt: new Date(due) });
  await tasks.distribute(SendCode, { code: 'fails' }, { deadline: new Date(Date.now() + 30_000) });
  await idle();
  // The clock of the database is the one that counts; here it is this machine's.
  expect(sent.find(({ code }) => code === 'later')!.at).toBeGreaterThanOrEqual(due - 20);
  expect(await admin.list({ state: 'dead' }, 10)).toMatchObject([{ reason: 'deadline passed', failures: 1 }]);
});
