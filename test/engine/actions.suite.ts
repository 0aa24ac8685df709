import { randomUUID } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { type ActionRecord, Refused, SkipRetry, Task, TaskAdmin, TaskDistributor, type TaskHandler } from '@app/tasks';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createEngine, type Dispatcher, isAvailable, type TestEngine } from '../support/engine.js';
import { eventually } from '../support/eventually.js';

const payload = z.object({ key: z.string(), note: z.string().optional() });
type Payload = z.output<typeof payload>;

/** What became of the tasks of a key: how often each attempt was made. */
const calls: string[] = [];
/** The keys whose tasks succeed; all others are buried, or fail where it is said so. */
const good = new Set<string>();
const failing = new Set<string>();
/** What the tasks of a key wait for. */
const holding = new Map<string, Promise<void>>();

@Injectable()
@Task({ type: 'actions.parcel', payload, maxRetry: 3, backoff: { type: 'fixed', delay: 3_600_000 } })
class Parcel implements TaskHandler<Payload> {
  async handle({ key }: Payload): Promise<void> {
    await holding.get(key);
    calls.push(key);
    if (good.has(key)) return;
    if (failing.has(key)) throw new Error('the carrier does not answer');
    throw new SkipRetry('no such street');
  }
}

@Injectable()
@Task({ type: 'actions.hourly', payload: z.object({}), schedule: { cron: '0 * * * *', timezone: 'Europe/Berlin' } })
class Hourly implements TaskHandler<object> {
  async handle(): Promise<void> {
    calls.push('hourly');
  }
}

@Injectable()
@Task({ type: 'actions.ticking', payload: z.object({}), schedule: { cron: '* * * * * *' } })
class Ticking implements TaskHandler<object> {
  async handle(): Promise<void> {
    calls.push('tick');
  }
}

/** What operators do with tasks and schedules, and what is recorded of it: one suite for every dispatcher. */
export function describeActions(dispatcher: Dispatcher): void {
  describe.skipIf(!isAvailable(dispatcher))(`operators' actions on ${dispatcher}`, { timeout: 60_000 }, () => {
    let engine: TestEngine;
    let tasks: TaskDistributor;
    let admin: TaskAdmin;
    /** Another operator, at another process. */
    let other: TaskAdmin;
    beforeAll(async () => {
      // The other dispatcher's run of this suite may have left something.
      calls.length = 0;
      for (const keys of [good, failing, holding]) keys.clear();
      engine = await createEngine(dispatcher);
      const worker = await engine.worker([Parcel, Hourly, Ticking]);
      tasks = worker.get(TaskDistributor, { strict: false });
      other = worker.get(TaskAdmin, { strict: false });
      admin = (await engine.admin([Parcel, Hourly])).get(TaskAdmin, { strict: false });
    });
    afterAll(() => engine?.close());
    beforeEach(async () => {
      await engine.database.query(`DELETE FROM task WHERE type = 'actions.parcel' AND state IN ('dead', 'completed')`);
    });

    const buried = async (more: { key?: string; unique?: string } = {}) => {
      const key = more.key ?? randomUUID();
      const unique = more.unique === undefined ? {} : { unique: { key: more.unique } };
      const { id } = await tasks.distribute(Parcel, { key }, unique);
      await eventually(async () => (await admin.page(id))?.state === 'dead');
      return { id, key };
    };
    const seen = async (id: string) => ({ id, seen: (await admin.page(id))!.seen });
    const gone = (id: string) => eventually(async () => (await admin.page(id)) === undefined);
    const ended = (id: number) =>
      eventually(async () => {
        const record = await admin.action(id);
        return record?.state === 'running' ? undefined : record;
      });

    it('do what they are for, to each task that was chosen, and are recorded', async () => {
      const [one, two] = [await buried(), await buried()];
      const delayed = await tasks.distribute(Parcel, { key: 'later' }, { processIn: '1h' });
      good.add(one.key);
      const redriven = await admin.act('redrive', [await seen(one.id), await seen(delayed.id)], 'Ada');
      expect(redriven).toEqual({
        action: expect.any(Number),
        done: 1,
        refused: [{ id: delayed.id, why: 'it is delayed, and only what is dead can be redriven' }],
      });
      await gone(one.id);
      expect(await admin.act('delete', [await seen(two.id)], 'Ada')).toMatchObject({ done: 1, refused: [] });
      expect(await admin.page(two.id)).toBeUndefined();
      expect(await admin.act('cancel', [await seen(delayed.id)], 'Ben')).toMatchObject({ done: 1, refused: [] });
      expect(await admin.page(delayed.id)).toBeUndefined();
      const [cancel, remove, redrive] = await admin.listActions({ limit: 3 });
      expect(cancel).toMatchObject({
        who: 'Ben',
        kind: 'cancel',
        text: `Cancel the task ${delayed.id}`,
        taskId: delayed.id,
        state: 'done',
        done: 1,
      });
      expect(remove).toMatchObject({ who: 'Ada', kind: 'delete', done: 1, refused: 0 });
      expect(redrive).toMatchObject({ id: redriven.action, text: 'Redrive 2 chosen tasks', taskId: null, total: 2, done: 1, refused: 1 });
      expect((await admin.listActions({ before: cancel!.id, limit: 1 })).map(({ id }) => id)).toEqual([remove!.id]);
    });

    it('are refused by a task that has changed since it was seen, and say how', async () => {
      const task = await buried();
      const before = await seen(task.id);
      const [first, second] = await Promise.all([admin.act('redrive', [before], 'Ada'), other.act('redrive', [before], 'Ben')]);
      const [winner, loser] = first.done === 1 ? [first, second] : [second, first];
      expect([winner.refused, loser.done]).toEqual([[], 0]);
      expect(loser.refused[0]!.why).toMatch(/^it has changed since it was seen: it was brought back|^it is not in the ledger/);
      // It died once more meanwhile: it looks the same, and is not.
      await eventually(async () => (await admin.page(task.id))?.state === 'dead');
      expect((await admin.act('delete', [before], 'Ada')).refused[0]!.why).toMatch(/^it has changed since it was seen/);
      expect((await admin.page(task.id))?.state).toBe('dead');
      await expect(admin.act('delete', [], 'Ada')).rejects.toThrow(Refused);
      await expect(admin.act('delete', [{ id: task.id, seen: 'nonsense' }], 'Ada')).resolves.toMatchObject({ done: 0 });
    });

    it('run a delayed task now, before its first attempt and between two', async () => {
      const first = await tasks.distribute(Parcel, { key: 'first' }, { processIn: '1h' });
      good.add('first');
      await eventually(async () => (await admin.page(first.id))?.state === 'delayed');
      // On Redis it is handed over meanwhile, or not yet: both are to do.
      expect(await admin.act('run now', [{ id: first.id }], 'Ada')).toMatchObject({ done: 1, refused: [] });
      await gone(first.id);
      failing.add('second');
      const second = await tasks.distribute(Parcel, { key: 'second' });
      const waiting = await eventually(async () => {
        const page = await admin.page(second.id);
        return page?.state === 'delayed' && page.failures === 1 ? page : undefined;
      });
      expect(await admin.act('run now', [waiting], 'Ada')).toMatchObject({ done: 1, refused: [] });
      const later = await eventually(async () => {
        const page = await admin.page(second.id);
        return page?.failures === 2 ? page : undefined;
      });
      expect(later.history.map(({ what }) => what)).toEqual(['attempt 1 failed', 'told to run now by an operator', 'attempt 2 failed']);
      expect(calls.filter((key) => key === 'second')).toHaveLength(2);
      expect((await admin.act('run now', [{ id: waiting.id, seen: waiting.seen }], 'Ada')).refused[0]!.why).toMatch(
        /an attempt has failed/,
      );
      await admin.cancel(second.id);
    });

    it('show a payload without secrets and addresses, and send an edited one once it fits', async () => {
      const { id } = await tasks.distribute(Parcel, { key: 'old', note: 'for ada@example.com' });
      await eventually(async () => (await admin.page(id))?.state === 'dead');
      expect(await admin.reveal(id, 'Ada')).toEqual({ payload: { key: 'old', note: 'for [address]' }, version: 1, cleaned: true });
      expect((await admin.listActions({ limit: 1 }))[0]).toMatchObject({ kind: 'reveal payload', who: 'Ada', taskId: id, state: 'done' });
      expect(await admin.checkPayload(id, { key: 7 })).toMatch(/does not fit "actions.parcel"/);
      expect(await admin.checkPayload(id, { key: 'new' })).toBeUndefined();
      expect((await admin.act('redrive', [{ id }], 'Ada', { payload: { key: 7 } })).refused[0]!.why).toMatch(/does not fit/);
      const kept = (await admin.act('redrive', [{ id }], 'Ada', { payload: { key: 'new', note: 'for [address]' } })).refused;
      expect(kept[0]!.why).toMatch(/^the payload.note still holds what stands for what you do not see/);
      expect((await admin.page(id))?.state).toBe('dead');
      good.add('new');
      expect(await admin.act('redrive', [{ id }], 'Ada', { payload: { key: 'new' } })).toMatchObject({ done: 1 });
      await gone(id);
      expect(calls).toContain('new');
      await expect(admin.act('delete', [{ id }], 'Ada', { payload: {} })).rejects.toThrow(/goes with the redrive of one task/);
      await expect(admin.reveal(id, 'Ada')).rejects.toThrow(/not in the ledger any more/);
    });

    describe('on all that match', () => {
      const kill = (count: number, more = '') =>
        engine.database.query(
          `INSERT INTO task (id, type, queue, payload, options, state, reason, error, error_group, finished_at ${more === '' ? '' : ', released_key'})
           SELECT gen_random_uuid(), 'actions.parcel', 'default', '{"key": "bulk"}', '{"maxRetry": 0, "timeout": 1000}', 'dead', 'retry skipped',
                  'no such street', 'no such street', now() ${more} FROM generate_series(1, $1) AS nth`,
          [count],
        );
      const search = { type: 'actions.parcel', group: 'no such street' } as const;
      const dead = async () => (await admin.search({ state: 'dead', ...search }, { limit: 200 })).tasks.length;
      beforeAll(() => good.add('bulk'));

      it('say first what they would do, and then do it to nothing that is newer', async () => {
        await kill(30);
        const plan = await admin.plan('redrive', search);
        expect(plan).toMatchObject({
          kind: 'redrive',
          count: { count: 30, exact: true },
          skipped: 0,
          text: 'Redrive 30 dead tasks of the type "actions.parcel" that died of "no such street"',
        });
        expect(await dead()).toBe(30);
        await kill(1);
        const record = await other.carryOut(plan.token, 'Ada');
        expect(record).toMatchObject({ who: 'Ada', kind: 'redrive', state: 'running', total: 30, search: { state: 'dead', ...search } });
        expect(await ended(record.id)).toMatchObject({ state: 'done', done: 30, refused: 0, finishedAt: expect.any(Date) });
        expect(await dead()).toBe(1);
        await eventually(async () => (await admin.search({ type: 'actions.parcel' })).tasks.length === 1);
        // It is done once: whoever asks again, since the answer was lost, is told of the same action.
        expect(await admin.carryOut(plan.token, 'Ada')).toMatchObject({ id: record.id, state: 'done', done: 30 });
        expect(await dead()).toBe(1);
        const { token } = await admin.plan('delete', search);
        const twice = await Promise.all([admin, other, admin].map((each) => each.carryOut(token, 'Ada')));
        expect(new Set(twice.map(({ id }) => id)).size).toBe(1);
        expect(await ended(twice[0]!.id)).toMatchObject({ state: 'done', done: 1 });
      });

      it('take none that comes to match after the dry run by getting older', async () => {
        await kill(3);
        const { token, count } = await admin.plan('delete', { ...search, state: 'dead', olderThan: 1_000 });
        expect(count).toEqual({ count: 0, exact: true });
        await eventually(async () => (await admin.plan('delete', { ...search, olderThan: 1_000 })).count.count === 3);
        expect(await ended((await admin.carryOut(token, 'Ada')).id)).toMatchObject({ state: 'done', done: 0, refused: 0 });
        expect(await dead()).toBe(3);
      });

      it('leave what has begun since it was to be cancelled while it waited', async () => {
        const { promise, resolve: letGo } = Promise.withResolvers<void>();
        holding.set('held', promise);
        const { id } = await tasks.distribute(Parcel, { key: 'held' }, { processIn: '1h' });
        await eventually(async () => (await admin.page(id))?.state === 'delayed');
        const { token } = await admin.plan('cancel', { type: 'actions.parcel', state: 'delayed' });
        // As if its time had come: an operator would leave a trace.
        await other.act('run now', [{ id }], 'Ben');
        await engine.database.query(`UPDATE task SET history = '[]' WHERE id = $1`, [id]);
        await eventually(async () => (await admin.page(id))?.state === 'running');
        expect(await ended((await admin.carryOut(token, 'Ada')).id)).toMatchObject({ state: 'done', done: 0 });
        good.add('held');
        letGo();
        await gone(id);
        expect(calls).toContain('held');
      });

      it('count them beyond what a card counts, which says no more than it knows', async () => {
        await kill(10_500);
        // The planner knows of none of them yet.
        await engine.database
          .query('UPDATE pg_class SET reltuples = 1, relpages = 1 WHERE oid = $1::regclass', ['task'])
          .catch(() => undefined);
        const plan = await admin.plan('delete', { ...search, error: 'STREET' });
        expect(plan.count).toEqual({ count: 10_500, exact: true });
        expect(plan.text).toMatch(/^Delete 10500 /);
        await eventually(async () => {
          const [group] = (await admin.deadGroups()).filter(({ type }) => type === 'actions.parcel');
          return group && (group.count.more === true ? group.count.count === 10_000 : group.count.count > 10_000) && !group.count.exact;
        });
        expect(await ended((await admin.carryOut(plan.token, 'Ada')).id)).toMatchObject({ state: 'done', done: 10_500, refused: 0 });
        expect(await dead()).toBe(0);
      });

      it('leave the tasks whose unique key another one has', async () => {
        await kill(3, `, CASE WHEN nth < 3 THEN 'one key' END`);
        const plan = await admin.plan('redrive', search);
        expect([plan.count.count, plan.skipped]).toEqual([3, 1]);
        await other.pause('default', 'Ada');
        expect(await ended((await admin.carryOut(plan.token, 'Ada')).id)).toMatchObject({ state: 'done', done: 2, refused: 1 });
        await other.resume('default', 'Ada');
      });

      it('go at a rate, say how far they are, and are stopped from anywhere', async () => {
        await kill(100);
        const { token } = await admin.plan('redrive', search);
        const { id } = await admin.carryOut(token, 'Ada', { rate: 20 });
        const running = await eventually(async () => {
          const record = await other.action(id);
          return record && record.done >= 10 ? record : undefined;
        });
        expect(running).toMatchObject({ state: 'running', rate: 20, total: 100 });
        await other.stopAction(id, 'Grace');
        expect((await admin.listActions({ limit: 1 }))[0]).toMatchObject({
          kind: 'stop action',
          who: 'Grace',
          state: 'done',
          text: expect.stringContaining(`Stop the action ${id}: `),
        });
        await expect(other.stopAction(id, 'Grace')).rejects.toThrow(`there is no action ${id} that could be stopped`);
        const { done } = await eventually(async () => {
          const record = await other.action(id);
          return record?.finishedAt ? record : undefined;
        });
        expect((await other.action(id))?.state).toBe('stopped');
        expect(done).toBeLessThan(60);
        expect(await dead()).toBe(100 - done);
      });

      it('cancel, delete and run now', async () => {
        const ids = (
          await tasks.distributeMany(
            Parcel,
            Array.from({ length: 20 }, (_, nth) => ({ key: `many ${nth}` })),
            { processIn: '1h' },
          )
        ).map(({ id }) => id);
        for (let nth = 0; nth < 10; nth++) good.add(`many ${nth}`);
        const all = { type: 'actions.parcel', state: 'delayed' } as const;
        await eventually(async () => (await admin.search(all)).tasks.length === 20);
        const finish = async (plan: Promise<{ token: string }>) => ended((await admin.carryOut((await plan).token, 'Ada')).id);
        expect(await finish(admin.plan('run now', { id: ids[0]! }))).toMatchObject({ state: 'done', done: 1 });
        expect(await finish(admin.plan('run now', { type: 'actions.parcel' }))).toMatchObject({ state: 'done', done: 19 });
        await eventually(async () => (await dead()) === 10);
        expect(await finish(admin.plan('delete', search))).toMatchObject({ state: 'done', done: 10 });
        expect(await dead()).toBe(0);
        await tasks.distributeMany(Parcel, [{ key: 'a' }, { key: 'b' }], { processIn: '1h' });
        expect(await finish(admin.plan('cancel', { type: 'actions.parcel' }))).toMatchObject({ state: 'done', done: 2 });
        expect((await admin.search({ type: 'actions.parcel' })).tasks).toEqual([]);
      });

      it('are refused for what they do not fit, and for a dry run that is none, or is old', async () => {
        await expect(admin.plan('redrive', { state: 'delayed' })).rejects.toThrow('only what is dead can be redriven, not what is delayed');
        await expect(admin.plan('cancel', { state: 'dead' })).rejects.toThrow(Refused);
        for (const token of [
          '',
          'nonsense',
          Buffer.from('{"kind":"fly"}').toString('base64url'),
          Buffer.from('null').toString('base64url'),
        ]) {
          await expect(admin.carryOut(token, 'Ada')).rejects.toThrow('the dry run cannot be read');
        }
        const { token } = await admin.plan('delete', { state: 'dead' });
        await expect(admin.carryOut(token, 'Ada', { rate: 0 })).rejects.toThrow(/a rate is/);
        const planned = JSON.parse(Buffer.from(token, 'base64url').toString()) as object;
        const old = Buffer.from(
          JSON.stringify({ ...planned, before: new Date(Date.now() - 3_700_000).toISOString().replace('T', ' ').replace('Z', '+00') }),
        );
        await expect(admin.carryOut(old.toString('base64url'), 'Ada')).rejects.toThrow(/more than an hour ago/);
      });

      it('are interrupted by the end of their process, and the record says so', async () => {
        await kill(50);
        const tool = await engine.admin([Parcel]);
        const mine = tool.get(TaskAdmin, { strict: false });
        const { id } = await mine.carryOut((await mine.plan('redrive', search)).token, 'Ada', { rate: 10 });
        await eventually(async () => (await admin.action(id))!.done > 0);
        await tool.close();
        const record = (await admin.action(id))!;
        expect(record).toMatchObject({ state: 'interrupted', total: 50 });
        expect(await dead()).toBe(50 - record.done);
        // One whose process was killed says nothing more.
        await engine.database.query(`UPDATE task_action SET state = 'running', heard_at = now() - interval '2 minutes' WHERE id = $1`, [
          id,
        ]);
        expect((await admin.action(id))?.state).toBe('interrupted');
      });
    });

    it('pause and resume a queue, by name and with a record', async () => {
      expect(await admin.pause('critical', 'Ada')).toMatchObject({
        kind: 'pause',
        who: 'Ada',
        queue: 'critical',
        text: 'Pause the queue "critical"',
      });
      expect((await admin.overview()).queues.find(({ queue }) => queue === 'critical')?.paused).toBe(true);
      expect(await admin.resume('critical', 'Ada')).toMatchObject({ kind: 'resume', state: 'done' });
      await expect(admin.pause('nowhere', 'Ada')).rejects.toThrow(Refused);
    });

    it('are kept for 90 days', async () => {
      const { id } = await admin.pause('critical', 'Ada');
      await admin.resume('critical', 'Ada');
      await engine.database.query(`UPDATE task_action SET at = now() - interval '91 days' WHERE id = $1`, [id]);
      await eventually(async () => (await admin.action(id)) === undefined);
    });

    describe('on schedules', () => {
      const schedule = async (type: string) => (await admin.listSchedules()).find((one) => one.type === type)!;
      const ticks = () => calls.filter((key) => key === 'tick').length;

      it('are shown with their words, and with their next and last runs', async () => {
        const hourly = await eventually(() => schedule('actions.hourly'));
        expect(hourly).toMatchObject({
          cron: '0 * * * *',
          timezone: 'Europe/Berlin',
          words: 'every hour, Europe/Berlin',
          declared: true,
          pausedAt: null,
          late: false,
        });
        expect(hourly.next).toHaveLength(5);
        expect(hourly.next.every((at, nth) => nth === 0 || at.getTime() - hourly.next[nth - 1]!.getTime() === 3_600_000)).toBe(true);
        const ticking = await eventually(async () => {
          const one = await schedule('actions.ticking');
          return one?.ticks.length === 10 ? one : undefined;
        });
        expect(ticking.ticks.every(({ what, taskId }) => what === 'distributed' && taskId !== null)).toBe(true);
        expect(ticking.ticks.map(({ due }) => due.getTime())).toEqual(
          ticking.ticks.map(({ due }) => due.getTime()).toSorted((a, b) => b - a),
        );
      });

      it('run once more at once, and keep their ticks', async () => {
        const { next } = await schedule('actions.hourly');
        const record: ActionRecord = await admin.runScheduleNow('actions.hourly', 'Ada');
        expect(record).toMatchObject({
          kind: 'run schedule now',
          who: 'Ada',
          type: 'actions.hourly',
          state: 'done',
          taskId: expect.any(String),
        });
        await eventually(() => calls.includes('hourly'));
        expect((await schedule('actions.hourly')).ticks[0]).toMatchObject({ what: 'run by an operator', taskId: record.taskId });
        expect((await schedule('actions.hourly')).next).toEqual(next);
      });

      it('let their ticks pass by while they are paused, and go on after it without making up for them', async () => {
        await eventually(() => ticks() > 0);
        expect(await admin.pauseSchedule('actions.ticking', 'Ada')).toMatchObject({ kind: 'pause schedule', state: 'done' });
        await expect(admin.pauseSchedule('actions.ticking', 'Ada')).rejects.toThrow('the schedule is paused already');
        await engine.database.query(`UPDATE task_schedule SET next_at = now() - interval '10 minutes' WHERE type = 'actions.ticking'`);
        expect(await schedule('actions.ticking')).toMatchObject({ pausedAt: expect.any(Date), next: [], late: false });
        expect((await admin.overview()).problems).toEqual([]);
        await eventually(async () => (await admin.search({ type: 'actions.ticking' })).tasks.length === 0);
        const before = ticks();
        // Whoever looks once a second has looked twice.
        const { at } = (await engine.database.query<{ at: Date }>('SELECT now() AS at'))[0]!;
        await eventually(
          async () => (await engine.database.query(`SELECT WHERE now() > $1::timestamptz + interval '2.5 seconds'`, [at])).length === 1,
        );
        expect(ticks()).toBe(before);
        expect(await admin.resumeSchedule('actions.ticking', 'Ada')).toMatchObject({ kind: 'resume schedule', state: 'done' });
        await eventually(() => ticks() > before);
        const { ticks: last } = await schedule('actions.ticking');
        expect(last[0]!.due.getTime()).toBeGreaterThan(at.getTime());
        expect(last.every(({ what }) => what === 'distributed')).toBe(true);
      });

      it('are deleted when nobody declares them any more, and not before', async () => {
        await expect(admin.deleteSchedule('actions.hourly', 'Ada')).rejects.toThrow(/a worker declares the schedule/);
        // Its worker says again and again that it is declared, once somebody has forgotten.
        await engine.database.query(`UPDATE task_schedule SET declared_at = now() - interval '1 day' WHERE type = 'actions.ticking'`);
        await eventually(async () => (await schedule('actions.ticking')).declared);
        await engine.database.query(
          `INSERT INTO task_schedule (type, cron, timezone, next_at, declared_at) VALUES ('actions.gone', 'H 3 * * *', 'UTC', now() + interval '1 hour', now() - interval '1 day')`,
        );
        expect(await schedule('actions.gone')).toMatchObject({ declared: false, words: 'H 3 * * *, UTC' });
        await expect(admin.runScheduleNow('actions.gone', 'Ada')).rejects.toThrow(/nothing here knows/);
        expect(await admin.deleteSchedule('actions.gone', 'Ada')).toMatchObject({ kind: 'delete schedule', state: 'done' });
        expect(await schedule('actions.gone')).toBeUndefined();
        await expect(admin.deleteSchedule('actions.gone', 'Ada')).rejects.toThrow('there is no schedule of "actions.gone"');
      });
    });
  });
}
