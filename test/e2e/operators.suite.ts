import { randomUUID } from 'node:crypto';
import { UserService } from '@app/contract';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Count } from '@app/tasks';
import { CommandLine } from '../support/command-line.js';
import { type Dispatcher, isAvailable } from '../support/engine.js';
import { eventually } from '../support/eventually.js';
import { somebody } from '../support/people.js';
import { type LedgerRow, Waybill } from '../support/waybill.js';

const TYPE = 'account.send_verification_email';

/** What operators see and do: the command line, on the real apps. One suite for every dispatcher. */
export function describeOperators(dispatcher: Dispatcher): void {
  const toRun = dispatcher === 'redis' ? 'dispatched' : 'pending';
  describe.skipIf(!isAvailable(dispatcher))(`operators, with the queues in ${dispatcher}`, { timeout: 120_000 }, () => {
    let waybill: Waybill;
    let operator: CommandLine;
    beforeAll(async () => {
      waybill = await Waybill.create(dispatcher);
      [operator] = await Promise.all([
        CommandLine.create(waybill.environment),
        waybill.startApi(),
        waybill.startWorker({ WORKER_CONCURRENCY: '4' }),
      ]);
      // A task that waits for its retry is to be looked at meanwhile.
      await waybill.retryQuickly(600_000);
    });
    afterAll(async () => {
      await operator?.close();
      await waybill?.close();
    });

    const signUp = async (reaction: Parameters<Waybill['mail']['when']>[1]) => {
      const person = somebody();
      waybill.mail.when(person.email, reaction);
      const answer = await waybill.http.call(UserService.method.createUser, person);
      expect(answer.code).toBe(0);
      const [user] = await waybill.database.query<{ id: string }>('SELECT id FROM users WHERE username = $1', [person.username]);
      const userId = user!.id;
      const task = async () => (await waybill.ledger()).find(({ payload }) => payload.userId === userId);
      const when = (fits: (row: LedgerRow) => boolean) =>
        eventually(async () => {
          const row = await task();
          return row && fits(row) ? row : undefined;
        });
      return { ...person, userId, task, when };
    };
    const buried = async () => {
      const person = await signUp({ refuse: 550, at: 'recipient' });
      return { ...person, id: (await person.when(({ state }) => state === 'dead')).id };
    };
    const waiting = async () => {
      const person = await signUp({ refuse: 451, at: 'recipient' });
      return { ...person, id: (await person.when(({ state, failures }) => state === toRun && failures === 1)).id };
    };
    /** Runs a command that must succeed, and reads its JSON. */
    const json = async <T>(...args: string[]): Promise<T> => {
      const { code, out, err } = await operator.run(...args, '--json');
      expect([code, err]).toEqual([0, '']);
      return JSON.parse(out) as T;
    };

    const expectRefused = (commands: readonly [string[], RegExp][]) =>
      Promise.all(
        commands.map(async ([args, message]) => {
          const { code, err } = await operator.run(...args);
          expect([args, code, err]).toEqual([args, 1, expect.stringMatching(message)]);
          expect(err, 'an error is words, and no stack').not.toMatch(/^\s+at /m);
        }),
      );

    it('see the queues, the counts, and the tasks', async () => {
      const [dead, delayed] = await Promise.all([buried(), waiting()]);
      // What runs is as the worker's heartbeat said last, and counts are kept for a few seconds.
      await eventually(async () => (await json<{ running: Count }[]>('queues')).every(({ running }) => running.count === 0));
      const [queues, stats, list, byError, table] = await Promise.all([
        json<Record<string, unknown>[]>('queues'),
        json<{ tasks: object; latencyMs: object }>('stats'),
        json<{ tasks: Record<string, unknown>[] }>('list', '--type', TYPE, '--queue', 'critical', '--limit', '10'),
        json<{ tasks: { id: string }[] }>('list', '--state', 'dead', '--error', '550 AT'),
        operator.run('queues'),
      ]);
      const [none, one] = [0, 1].map((count) => ({ count, exact: true }));
      expect(queues).toMatchObject([
        { queue: 'critical', weight: 10, paused: false, ready: none, running: none, delayed: one, dead: one },
        { queue: 'default', weight: 5, paused: false, ready: none, running: none, delayed: none, dead: none },
      ]);
      expect(stats).toEqual({ tasks: { ready: none, running: none, delayed: one, dead: one }, latencyMs: { critical: 0, default: 0 } });
      expect(list.tasks.map(({ id }) => id).sort()).toEqual([dead.id, delayed.id].sort());
      expect(list.tasks.flatMap(Object.keys)).not.toContain('payload');
      expect(byError.tasks.map(({ id }) => id)).toEqual([dead.id]);
      expect(table.out).toMatch(/^critical +10 +no +0 +0 +1 +1 /m);
    });

    it('see the workers', async () => {
      const [workers, text] = await Promise.all([json<Record<string, unknown>[]>('workers'), operator.run('workers')]);
      expect(workers).toMatchObject([
        { alive: true, slots: 4, version: expect.stringMatching(/^\d/), queues: { critical: 10, default: 5 } },
      ]);
      expect(text.out).toMatch(
        /^worker \d+ on \S+, process \d+, version [\d.]+: serves critical \(10\), default \(5\), \d of 4 slots in use$/m,
      );
    });

    it('see the overview, the charts, and the dead by their errors', async () => {
      const [overview, charts, dead, text, lines] = await Promise.all([
        json<{ queues: unknown[]; problems: unknown[] }>('overview'),
        json<{ at: unknown[] }>('charts', '--day'),
        json<{ group: string }[]>('dead'),
        operator.run('overview'),
        operator.run('charts'),
      ]);
      expect(overview.queues).toMatchObject([{ queue: 'critical', weight: 10, workers: 1 }, { queue: 'default' }]);
      expect(overview.problems).toEqual([]);
      expect(charts.at).toHaveLength(96);
      expect(dead).toMatchObject([{ type: TYPE, group: expect.stringMatching(/550/), count: { exact: true } }]);
      expect(text.out).toMatch(/^critical +10 +no +\d/m);
      expect(text.out).toContain('Nothing is wrong.');
      expect(lines.out.match(/^\d{4}-/gm)).toHaveLength(12);
    });

    it('read the story of a task', async () => {
      const [dead, delayed] = await Promise.all([buried(), waiting()]);
      const [story, text, later] = await Promise.all([
        json<{ explanation: string; history: object[] }>('show', dead.id),
        operator.run('show', dead.id),
        json<{ explanation: string; state: string }>('show', delayed.id),
      ]);
      expect(story).toMatchObject({ id: dead.id, state: 'dead', history: [{ what: 'buried: retry skipped' }] });
      expect(story.explanation).toBe('buried: retry skipped; it runs again only when it is redriven');
      expect(text.code).toBe(0);
      expect(text.out).toMatch(/^state +dead: buried/m);
      expect(text.out).toMatch(/^failures +1 of 11$/m);
      expect(text.out).toMatch(new RegExp(`^concerns +userId ${dead.userId}$`, 'm'));
      expect(text.out).toContain('buried: retry skipped: the mail server refused the mail: 550');
      expect(later.explanation).toMatch(/^its last attempt failed; the next is at \d{4}-/);
      expect(later.state).toBe('delayed');
    });

    it('are told once of a queue that nobody serves, and move, cancel and delete its tasks, which delay no others', async () => {
      const ids = Array.from({ length: 500 }, () => randomUUID());
      await waybill.database.query(
        `INSERT INTO task (id, type, queue, payload, options, run_at)
         SELECT id, 'account.purge_email_verifications', 'reports', '{}', '{"maxRetry": 0, "timeout": 60000}', now() - interval '2 minutes'
         FROM unnest($1::uuid[]) AS id`,
        [ids],
      );
      const told = () => waybill.worker.lines.filter(({ msg }) => msg.startsWith('tasks of a queue that this worker does not serve'));
      await eventually(() => told().length > 0);
      const person = somebody();
      await waybill.http.call(UserService.method.createUser, person);
      await waybill.mail.mailTo(person.email);

      // What is counted is kept for a few seconds.
      await eventually(async () => /^reports +none +no +500 /m.test((await operator.run('queues')).out));
      expect((await operator.run('cancel', ids[0]!)).out).toMatch(/^Is cancelled/);
      expect(await json('move', 'reports', 'default', '--dry-run')).toEqual({ wouldMove: 499 });
      await expectRefused([[['move', 'reports', 'nowhere'], /the queue "nowhere" is not one of this app's/]]);
      expect((await operator.run('move', 'reports', 'default')).out).toBe('Moved: 499 pending tasks in the queue "reports".\n');
      const left = async () => (await waybill.database.query('SELECT FROM task WHERE id = ANY($1)', [ids])).length;
      await eventually(async () => (await left()) === 0);
      expect(told()).toMatchObject([{ queue: 'reports', served: ['critical', 'default'] }]);
    });

    it('are told what was wrong with a command, and nothing happens', async () => {
      const alive = await waiting();
      const unknown = randomUUID();
      const ledger = async () => (await waybill.ledger()).map(({ id, state, failures }) => ({ id, state, failures }));
      const before = await ledger();
      await expectRefused([
        [['show', unknown], /there is no task .* in the ledger/],
        [['redrive', alive.id], /it is delayed, and only what is dead can be redriven/],
        [['pause', 'nowhere'], /the queue "nowhere" is not one of this app's \(critical, default\)/],
      ]);
      expect(await ledger()).toEqual(before);
    });

    it('bring one task back, with another payload', async () => {
      const person = await buried();
      waybill.mail.when(person.email, 'accept');
      // As an api of another version might have left it.
      await waybill.database.query(`UPDATE task SET payload = '{"user": 7}' WHERE id = $1`, [person.id]);
      const story = async () => (await waybill.ledger()).find(({ id }) => id === person.id);
      expect(await json('redrive', person.id, '--dry-run')).toEqual({ wouldRedrive: 1 });
      expect(await story()).toMatchObject({ state: 'dead', reason: 'retry skipped' });
      expect((await operator.run('redrive', person.id)).out).toBe(`Redriven: the task ${person.id}.\n`);
      await eventually(async () => (await story())?.reason === 'unreadable payload');

      const refused = await operator.run('redrive', person.id, '--payload', '{"userId":"somebody"}');
      expect([refused.code, refused.err]).toEqual([1, expect.stringContaining(`the payload does not fit "${TYPE}"`)]);
      expect((await story())?.state).toBe('dead');
      expect(await json('redrive', person.id, '--payload', JSON.stringify({ userId: person.userId }))).toEqual({ redriven: 1 });
      expect((await waybill.mail.mailTo(person.email)).messageId).toBe(`<${person.id}@waybill.test>`);
      await eventually(async () => (await story()) === undefined);
    });

    it('bring back all that match, after a look at how many', async () => {
      await waybill.database.query(`DELETE FROM task WHERE state = 'dead'`);
      const people = await Promise.all([buried(), buried(), buried()]);
      for (const { email } of people) waybill.mail.when(email, 'accept');
      expect(await json('redrive', '--type', TYPE, '--error', '550', '--dry-run')).toEqual({ wouldRedrive: 3 });
      expect((await waybill.ledger()).filter(({ state }) => state === 'dead')).toHaveLength(3);
      const [other, all] = [await json('redrive', '--error', 'no such error'), await json('redrive', '--type', TYPE, '--rate', '100')];
      expect([other, all]).toEqual([{ redriven: 0 }, { redriven: 3 }]);
      for (const { email } of people) await waybill.mail.mailTo(email);
      await eventually(async () => (await Promise.all(people.map(({ task }) => task()))).every((row) => row === undefined));
    });

    it('cancel a task that waits, and one that runs', async () => {
      const [delayed, running] = [await waiting(), await signUp('hang')];
      await eventually(() => waybill.mail.triesTo(running.email).length === 1);
      const { id } = (await running.task())!;
      // At once: the mailer gives such a server 10 s.
      expect(await json('cancel', id)).toEqual({ result: 'cancelled while running' });
      expect(await json('cancel', delayed.id)).toEqual({ result: 'cancelled' });
      expect([await delayed.task(), await running.task()]).toEqual([undefined, undefined]);
      await waybill.worker.line((line) => line['taskId'] === id && line.msg === 'task completed' && line['moot'] === 'cancelled');
      const [again, twice] = [await operator.run('cancel', id), await operator.run('show', id)];
      expect([again.code, twice.code]).toEqual([1, 1]);
    });

    it('pause a queue, and resume it', async ({ onTestFinished }) => {
      onTestFinished(() => void operator.run('resume', 'critical'));
      expect(await json('pause', 'critical')).toEqual({ queue: 'critical', paused: true });
      const held = await signUp('accept');
      const { id } = await held.when(({ state }) => state === toRun);
      const [queues, story] = await Promise.all([
        json<{ queue: string; paused: boolean; latency: number }[]>('queues'),
        json<{ explanation: string }>('show', id),
      ]);
      expect(queues).toEqual(
        expect.arrayContaining([
          expect.objectContaining({ queue: 'critical', paused: true }),
          expect.objectContaining({ queue: 'default', paused: false }),
        ]),
      );
      expect(story.explanation).toBe('its queue is paused');
      expect(waybill.mail.triesTo(held.email)).toEqual([]);
      expect(await json('resume', 'critical')).toEqual({ queue: 'critical', paused: false });
      await waybill.mail.mailTo(held.email);
    });

    it('delete what is dead, and nothing that is still to run', async () => {
      const [one, two, alive] = await Promise.all([buried(), buried(), waiting()]);
      expect(await json('delete', one.id)).toEqual({ deleted: 1 });
      expect([await one.task(), (await two.task())?.state]).toEqual([undefined, 'dead']);
      const { deleted } = await json<{ deleted: number }>('delete', '--all');
      expect(deleted).toBeGreaterThanOrEqual(1);
      expect([await two.task(), (await alive.task())?.state]).toEqual([undefined, toRun]);
    });
  });
}
