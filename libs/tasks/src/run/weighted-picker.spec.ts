import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { EngineOptions, type TasksOptions } from '../options.js';
import { WeightedPicker } from './weighted-picker.js';

const weightsOf = (entries: { weight: number; min: number }[], strict = false) => ({
  strict,
  queues: entries.map((entry, index) => ({ name: `q${index}`, ...entry })),
});

const sharesOf = (queues: TasksOptions['queues'], strict = false) =>
  new EngineOptions({ database: { url: 'postgres://nowhere' }, queues, strict }).weights;

const queue = fc.record({ weight: fc.integer({ min: 1, max: 50 }), min: fc.integer({ min: 0, max: 2 }) });
const setups = fc
  .record({ queues: fc.array(queue, { minLength: 1, maxLength: 5 }), slots: fc.integer({ min: 1, max: 30 }), strict: fc.boolean() })
  .filter(({ queues, slots }) => queues.reduce((sum, { min }) => sum + min, 0) <= slots);

/** Fills the slots from queues that always have something to do. */
function saturate(picker: WeightedPicker): string[] {
  const started: string[] = [];
  for (let name = picker.start(); name !== undefined; name = picker.start()) {
    picker.found(name);
    started.push(name);
  }
  return started;
}

const weightings = fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 2, maxLength: 4 });
const slotCounts = fc.integer({ min: 1, max: 20 });

/** A pool whose slots are all taken, and how far its starts are from the weights' shares. */
function saturated(weights: number[], slots: number) {
  const picker = new WeightedPicker(weightsOf(weights.map((weight) => ({ weight, min: 0 }))), slots);
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  const starts = weights.map(() => 0);
  const running: string[] = [];
  const start = (name: string) => {
    running.push(name);
    starts[Number(name.slice(1))]! += 1;
  };
  saturate(picker).forEach(start);
  const deviation = () => {
    const all = starts.reduce((sum, value) => sum + value, 0);
    return Math.max(...weights.map((weight, index) => Math.abs(starts[index]! - (all * weight) / total)));
  };
  return { picker, running, start, deviation };
}

describe('WeightedPicker', () => {
  it('shares a saturated pool by the weights, exactly, at every moment', () => {
    fc.assert(
      fc.property(weightings, slotCounts, (weights, slots) => {
        const { picker, running, start, deviation } = saturated(weights, slots);
        for (let finished = 0; finished < 2_000; finished++) {
          picker.finish(running.shift()!);
          start(saturate(picker)[0]!);
          expect(deviation()).toBeLessThan(weights.length);
        }
      }),
      { numRuns: 20 },
    );
  });

  it('shares it within two starts of a queue where slots stay, in whatever order the tasks end, and seldom changes', () => {
    fc.assert(
      fc.property(weightings, slotCounts, fc.infiniteStream(fc.nat()), (weights, slots, choices) => {
        const { picker, running, start, deviation } = saturated(weights, slots);
        let changes = 0;
        for (let finished = 0; finished < 1_000; finished++) {
          const [name] = running.splice(choices.next().value! % running.length, 1);
          const stays = picker.finishAndContinue(name!);
          if (!stays) changes += 1;
          start(stays ? name! : saturate(picker)[0]!);
          expect(deviation()).toBeLessThan(2 * (weights.length - 1) + 1);
        }
        // With few slots the shares demand changes all the time.
        if (slots >= 4 * weights.length) expect(changes).toBeLessThan(350);
      }),
      { numRuns: 20 },
    );
  });

  it('keeps no queue waiting that has just woken', () => {
    const picker = new WeightedPicker(sharesOf({ critical: 10, default: 5 }), 3);
    picker.foundEmpty(picker.start()!);
    expect(saturate(picker)).toEqual(['default', 'default', 'default']);
    for (let turn = 0; turn < 50; turn++) expect(picker.finishAndContinue('default')).toBe(true);
    picker.wake('critical');
    expect(picker.finishAndContinue('default')).toBe(false);
    expect(picker.start()).toBe('critical');
  });

  it('never takes more than the slots, keeps reservations, and leaves none idle that may be used', () => {
    fc.assert(
      fc.property(setups, fc.infiniteStream(fc.nat()), ({ queues, slots, strict }, choices) => {
        const picker = new WeightedPicker(weightsOf(queues, strict), slots);
        const running: string[] = [];
        const choose = (below: number) => choices.next().value! % below;
        for (let step = 0; step < 200; step++) {
          const name = `q${choose(queues.length)}`;
          switch (choose(4)) {
            case 0: {
              const started = picker.start();
              if (started !== undefined) {
                picker.found(started);
                running.push(started);
              }
              break;
            }
            case 1:
              picker.wake(name);
              break;
            case 2:
              if (running.length > 0) {
                const [done] = running.splice(choose(running.length), 1);
                if (choose(2) === 0) picker.foundEmpty(done!);
                else picker.finish(done!);
              }
              break;
            default:
              if (picker.startArrived(name)) running.push(name);
          }
          expect(picker.busy).toBe(running.length);
          expect(running.length).toBeLessThanOrEqual(slots);
          for (const [index, { min }] of queues.entries()) {
            const used = running.filter((other) => other === `q${index}`).length;
            const others = running.length - used;
            expect(slots - others).toBeGreaterThanOrEqual(Math.min(min, slots));
          }
        }
        // Work-conserving: with every queue supplied, as many slots are used as there are.
        for (let index = 0; index < queues.length; index++) picker.wake(`q${index}`);
        for (let started = picker.start(); started !== undefined; started = picker.start()) {
          picker.found(started);
          running.push(started);
        }
        const woken = queues.every((_, index) => !picker.isEmpty(`q${index}`));
        expect(woken).toBe(true);
        expect(running.length).toBe(slots);
      }),
      { numRuns: 300 },
    );
  });

  it('gives a lone queue every slot that is not reserved', () => {
    const picker = new WeightedPicker(sharesOf({ critical: { weight: 10, min: 2 }, default: 5 }), 15);
    picker.foundEmpty(picker.start()!);
    expect(saturate(picker)).toEqual(Array.from({ length: 13 }, () => 'default'));
    expect(picker.startArrived('critical')).toBe(true);
    expect(picker.startArrived('critical')).toBe(true);
    expect(picker.startArrived('critical')).toBe(false);
  });

  it('gives no credit for having been idle', () => {
    const picker = new WeightedPicker(sharesOf({ a: 1, b: 1 }), 1);
    expect(picker.start()).toBe('a');
    picker.found('a');
    picker.finish('a');
    expect(picker.start()).toBe('b');
    picker.foundEmpty('b');
    for (let turn = 0; turn < 100; turn++) {
      expect(picker.start()).toBe('a');
      picker.finish('a');
    }
    picker.wake('b');
    const turns = Array.from({ length: 10 }, () => {
      const name = picker.start()!;
      picker.found(name);
      picker.finish(name);
      return name;
    });
    expect(turns.filter((name) => name === 'b')).toHaveLength(5);
  });

  it('nor for the time in which one slot looked whether there is something', () => {
    const picker = new WeightedPicker(sharesOf({ a: 1, b: 1 }), 4);
    expect([picker.start(), picker.start()]).toEqual(['a', 'b']);
    picker.found('a');
    for (let turn = 0; turn < 100; turn++) expect(picker.finishAndContinue('a')).toBe(true);
    picker.found('b');
    const turns = Array.from({ length: 20 }, () => {
      const name = picker.start()!;
      picker.finish(name);
      return name;
    });
    expect(turns.filter((name) => name === 'b')).toHaveLength(10);
  });

  it('in strict mode serves a lesser queue only while the greater ones are empty', () => {
    const picker = new WeightedPicker(sharesOf({ critical: 10, default: 5 }, true), 4);
    expect(picker.start()).toBe('critical');
    picker.found('critical');
    expect(saturate(picker)).toEqual(['critical', 'critical', 'critical']);
    picker.foundEmpty('critical');
    expect(saturate(picker)).toEqual(['default']);
  });

  it('lets one slot look at a queue that wakes, and the others once there is more', () => {
    const picker = new WeightedPicker(sharesOf({ a: 1 }), 10);
    expect(picker.start()).toBe('a');
    expect(picker.start()).toBeUndefined();
    expect(picker.found('a')).toBe(true);
    expect(saturate(picker)).toHaveLength(9);
  });

  it('continues with the same queue exactly when that is next', () => {
    const picker = new WeightedPicker(sharesOf({ a: 2, b: 1 }), 1);
    const order: string[] = [];
    let name = picker.start()!;
    picker.found(name);
    for (let turn = 0; turn < 9; turn++) {
      order.push(name);
      if (picker.finishAndContinue(name)) continue;
      name = picker.start()!;
      picker.found(name);
    }
    expect(order.filter((entry) => entry === 'a')).toHaveLength(6);
  });
});
