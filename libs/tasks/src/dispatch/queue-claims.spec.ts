import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ClaimedTask, Cursor, Release } from '../ledger/claims.js';
import { QuarantineSlot } from './quarantine-slot.js';
import { QueueClaims } from './queue-claims.js';
import { StartOrder } from './start-order.js';

const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

interface Row {
  id: string;
  place: number;
  /** The worker and the number of its claim, while it is claimed. */
  claim: { worker: number; number: number } | undefined;
  running: boolean;
}

/** How the next claim goes: it is answered; it fails and has done nothing; it has done all, and its answer is lost. */
type Fate = 'answered' | 'failed' | 'lost';

/** A ledger of one queue in memory, whose answers take their time. */
class FakeLedger {
  readonly rows = new Map<string, Row>();
  readonly fates: Fate[] = [];
  worker = 1;
  latency = 3;
  /** How long a claim takes that begins at the start of the queue, and whether it fails; undefined: as the others. */
  rewind: { latency: number; fails: boolean } | undefined;
  isAlone = false;
  /** How many claims began at the start of the queue. */
  rewinds = 0;
  private number = 0;
  private made = 0;

  readonly claims = {
    nextNumber: () => ++this.number,
    claim: async (_queue: string, worker: number, number: number, size: number, cursor?: Cursor) => {
      if (!cursor) {
        this.rewinds += 1;
        if (this.rewind && this.rewinds > 1) {
          await wait(this.rewind.latency);
          if (this.rewind.fails) throw new Error('the statement took too long');
        }
      }
      const isNext = (row: Row) => row.place >= Number(cursor?.id ?? 0) && !this.isClaimed(row);
      const fate = this.fates.shift() ?? 'answered';
      await wait(this.latency / 2);
      const rows = fate === 'failed' ? [] : [...this.rows.values()].filter(isNext).slice(0, size);
      for (const row of rows) row.claim = { worker, number };
      const tasks = rows.map(({ id }) => ({ id, claimedBy: worker, delivery: number, quarantined: false }) as ClaimedTask);
      await wait(this.latency / 2);
      if (fate !== 'answered') throw new Error(`the answer is ${fate}`);
      const last = rows.at(-1);
      return { tasks, lost: 0, alone: this.isAlone, cursor: last && { runAt: 'now', id: `${last.place}` } };
    },
    claimQuarantined: () => Promise.resolve(undefined),
    isAlone: async () => {
      await wait(this.latency);
      return this.isAlone;
    },
    nextDue: () => Promise.resolve(undefined),
    undo: async (_queue: string, worker: number, number: number) => {
      for (const row of this.rows.values()) if (row.claim?.worker === worker && row.claim.number === number) row.claim = undefined;
    },
  };

  readonly release = async ({ task }: Release) => {
    await wait(this.latency);
    const row = this.rows.get(task.id);
    if (row?.claim?.worker === task.claimedBy && row.claim.number === task.delivery) row.claim = undefined;
  };

  add(count: number): void {
    for (let n = 0; n < count; n++) {
      const place = this.made++;
      const id = `task ${place}`;
      this.rows.set(id, { id, place, claim: undefined, running: false });
    }
  }

  /** Takes this process for dead: what it has claimed is void. */
  bury(): void {
    for (const row of this.rows.values()) if (row.claim) row.running = false;
    this.worker += 1;
  }

  isClaimed({ claim }: Row): boolean {
    return claim?.worker === this.worker;
  }
}

/** A queue's claims, and slots that ask for tasks as BullMQ's workers do. @param order of the starts of all queues. */
function createQueue(order = new StartOrder()) {
  const ledger = new FakeLedger();
  const slot = new QuarantineSlot();
  const surroundings = { claims: ledger.claims, worker: () => ledger.worker, slot, order, release: ledger.release };
  const queue = new QueueClaims('default', surroundings);
  const cancelled = new Set<string>();
  const running: ClaimedTask[] = [];
  const asking = { count: 0 };
  /** Whatever a slot has met that must not be. */
  const mistakes: unknown[] = [];
  const ask = async () => {
    asking.count += 1;
    const task = await queue.ask().catch(() => undefined);
    asking.count -= 1;
    try {
      if (task) begin(task);
    } catch (error) {
      mistakes.push(error);
    }
  };
  const begin = (task: ClaimedTask) => {
    const row = ledger.rows.get(task.id);
    expect(cancelled, 'a cancelled task begins').not.toContain(task.id);
    // What was claimed under an id that is no more is another's by now, and the fence keeps it from having effects.
    if (task.claimedBy !== ledger.worker) return;
    expect(row, 'a task begins that is not there').toBeDefined();
    expect(row!.running, 'a task begins twice').toBe(false);
    expect(row!.claim, 'a task begins that is not claimed').toEqual({ worker: task.claimedBy, number: task.delivery });
    row!.running = true;
    running.push(task);
  };
  const finish = () => {
    const task = running.shift();
    const row = task && ledger.rows.get(task.id);
    if (row?.claim?.worker === task!.claimedBy && row.claim.number === task!.delivery) ledger.rows.delete(task!.id);
  };
  return { ledger, queue, cancelled, running, asking, mistakes, ask, finish };
}

/** The two queues of a process, whose starts keep one order. */
function createQueues() {
  const order = new StartOrder();
  return [createQueue(order), createQueue(order)] as const;
}

beforeEach(() => void vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance', 'Date'] }));
afterEach(() => void vi.useRealTimers());
const advance = (milliseconds: number) => vi.advanceTimersByTimeAsync(milliseconds);

const operations = fc.oneof(
  { weight: 3, arbitrary: fc.record({ what: fc.constant('add' as const), count: fc.integer({ min: 1, max: 60 }) }) },
  { weight: 6, arbitrary: fc.record({ what: fc.constant('ask' as const), count: fc.integer({ min: 1, max: 15 }) }) },
  { weight: 6, arbitrary: fc.record({ what: fc.constant('finish and ask' as const), count: fc.integer({ min: 1, max: 15 }) }) },
  { weight: 6, arbitrary: fc.record({ what: fc.constant('advance' as const), count: fc.integer({ min: 1, max: 60 }) }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('advance' as const), count: fc.integer({ min: 500, max: 5_000 }) }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('cancel' as const), count: fc.integer({ min: 0, max: 200 }) }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('recall' as const), count: fc.constant(1) }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('slow' as const), count: fc.integer({ min: 1, max: 40 }) }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('fail' as const), count: fc.integer({ min: 1, max: 2 }) }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('lose' as const), count: fc.integer({ min: 1, max: 2 }) }) },
  { weight: 1, arbitrary: fc.record({ what: fc.constant('bury' as const), count: fc.constant(1) }) },
);

type Operation = typeof operations extends fc.Arbitrary<infer T> ? T : never;

async function play(played: ReturnType<typeof createQueue>, { what, count }: Operation): Promise<void> {
  const { ledger, queue, cancelled, ask, finish, running } = played;
  if (what === 'add') {
    ledger.add(count);
    queue.wake();
  } else if (what === 'ask') {
    for (let n = 0; n < count; n++) void ask();
  } else if (what === 'finish and ask') {
    for (let n = 0; n < count && running.length > 0; n++) {
      finish();
      void ask();
    }
  } else if (what === 'cancel') {
    // It comes from the database: a slot that was given a task in the turn before has begun it.
    await advance(0);
    const row = [...ledger.rows.values()][count];
    if (row && !row.running) {
      ledger.rows.delete(row.id);
      cancelled.add(row.id);
      queue.drop(row.id);
    }
  } else if (what === 'recall') void queue.giveBack();
  else if (what === 'slow') ledger.latency = count;
  else if (what === 'fail') ledger.fates.push(...Array<Fate>(count).fill('failed'));
  else if (what === 'lose') ledger.fates.push(...Array<Fate>(count).fill('lost'));
  else if (what === 'bury') {
    ledger.bury();
    queue.forget();
  } else await advance(count);
}

/** A slot asks while a claim gives back what it has brought, and the end comes. */
const ASKED_WHILE_RECALLED: Operation[] = [
  { what: 'add', count: 2 },
  { what: 'ask', count: 1 },
  { what: 'advance', count: 1 },
  { what: 'recall', count: 1 },
  { what: 'advance', count: 1 },
  { what: 'finish and ask', count: 1 },
];

const claimedOf = (ledger: FakeLedger) => [...ledger.rows.values()].filter((row) => ledger.isClaimed(row) && !row.running);

describe('the claims of a queue', () => {
  it('begin every task that is there, none twice at a time and none that was cancelled, and leave nobody waiting, whatever happens', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(1), operations), { maxLength: 60 }), async (steps) => {
        const queues = createQueues();
        for (const [index, step] of steps) await play(queues[index]!, step);
        for (const { ledger } of queues) ledger.fates.length = 0;
        // Slots that go on asking, for longer than a lost answer can be outstanding.
        const goOn = async (milliseconds: number) => {
          for (const { running, asking, finish, ask } of queues) {
            while (running.length > 0) finish();
            for (let n = asking.count; n < 15; n++) void ask();
          }
          await advance(milliseconds);
        };
        for (let second = 0; second < 40; second++) await goOn(1_000);
        for (let turn = 0; turn < 2_000 && queues.some(({ ledger }) => ledger.rows.size > 0); turn++) await goOn(50);
        await advance(1_000);
        for (const { mistakes, ledger, asking } of queues) {
          expect(mistakes).toEqual([]);
          expect([...ledger.rows.values()], 'what never began').toEqual([]);
          expect(asking.count, 'those who wait for an answer').toBe(0);
        }
      }),
      { numRuns: 200 },
    );
  }, 60_000);

  it('give everything back at the end but what runs, and answer whoever waits', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(fc.nat(1), operations), { maxLength: 40 }), async (steps) => {
        const queues = createQueues();
        for (const [index, step] of steps) await play(queues[index]!, step.what === 'lose' ? { ...step, what: 'fail' } : step);
        for (const { queue } of queues) void queue.halt();
        await advance(300);
        for (const { mistakes, ledger, asking, ask } of queues) {
          expect(mistakes).toEqual([]);
          expect(claimedOf(ledger)).toEqual([]);
          expect(asking.count).toBe(0);
          await ask();
          expect(asking.count).toBe(0);
        }
      }),
      { numRuns: 200, examples: [[ASKED_WHILE_RECALLED.map((step) => [0, step] as [number, Operation])]] },
    );
  }, 60_000);

  it.each([
    ['beside another worker, soon enough for it to begin them within 50 ms', false, 40],
    ['alone, within a second after another one has come', true, 1_100],
  ])('give back what no slot begins: %s', async (_name, isAlone, within) => {
    const { ledger, queue, ask, finish } = createQueue();
    ledger.isAlone = isAlone;
    ledger.add(2_000);
    queue.wake();
    for (let n = 0; n < 15; n++) void ask();
    // Quick ones, so that more are claimed ahead.
    for (let turn = 0; turn < 40; turn++) {
      await advance(2);
      for (let n = 0; n < 8; n++) {
        finish();
        void ask();
      }
    }
    await advance(1);
    expect(claimedOf(ledger).length).toBeGreaterThan(10);
    // From now on every slot is busy for long.
    if (isAlone) {
      await advance(5_000);
      expect(claimedOf(ledger).length).toBeGreaterThan(10);
      ledger.isAlone = false;
    }
    await advance(within);
    expect(claimedOf(ledger)).toEqual([]);
  });

  it.each([
    ['quick', 4, 4_000, 12, 17],
    ['slow, since dead entries are there to be read', 40, 4_000, 4, 6],
    ['very slow', 2_000, 20_000, 3, 4],
  ])(
    'begin at the start of a queue that is never empty for a part of the time only: claims are %s',
    async (_name, latency, during, least, most) => {
      const { ledger, queue, ask, finish, asking, running } = createQueue();
      ledger.latency = latency;
      ledger.add(20_000);
      queue.wake();
      for (const begun = performance.now(); performance.now() < begun + during; await advance(5)) {
        if (running.length > 0) finish();
        if (asking.count < 5) void ask();
      }
      expect(ledger.rewinds).toBeGreaterThanOrEqual(least);
      expect(ledger.rewinds).toBeLessThanOrEqual(most);
    },
  );

  it.each([false, true])('go on behind the cursor while those from the start of the queue take 8 s; and fail: %s', async (fails) => {
    const { ledger, queue, ask, finish, asking, running } = createQueue();
    ledger.rewind = { latency: 8_000, fails };
    ledger.add(20_000);
    queue.wake();
    let flowing = 0;
    for (const begun = performance.now(); performance.now() < begun + 60_000; await advance(50)) {
      if (running.length > 0) flowing += 1;
      while (running.length > 0) finish();
      while (asking.count < 5) void ask();
    }
    // Some 13 s of each turn, of which 5 are behind the cursor.
    expect(flowing * 50).toBeGreaterThan(20_000);
  });
});
