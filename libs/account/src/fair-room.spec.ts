import { describe, expect, it } from 'vitest';
import { FairRoom, RoomIsFull } from './fair-room.js';

/** A room that serves one at a time, in which everybody stays until told to leave. */
function room(size: number) {
  const fair = new FairRoom(1, size);
  const served: string[] = [];
  const refused: string[] = [];
  let leave: () => void = () => undefined;
  const come = (name: string) => {
    const stay = () => {
      served.push(name);
      return new Promise<void>((resolve) => (leave = resolve));
    };
    void fair.serve(name[0]!, stay).catch((error: unknown) => {
      expect(error).toBeInstanceOf(RoomIsFull);
      refused.push(name);
    });
  };
  const settled = () => new Promise((resolve) => setImmediate(resolve));
  return {
    served,
    refused,
    async come(...names: string[]) {
      for (const name of names) come(name);
      await settled();
    },
    async finish(count: number) {
      for (let done = 0; done < count; done++) {
        leave();
        await settled();
      }
    },
  };
}

describe('a fair room', () => {
  it('serves sources in turn, and each in its order', async () => {
    const { come, finish, served } = room(10);
    await come('a1', 'a2', 'a3', 'a4', 'b1', 'b2', 'c1');
    await finish(7);
    expect(served).toEqual(['a1', 'a2', 'b1', 'c1', 'a3', 'b2', 'a4']);
    await come('d1');
    expect(served.at(-1)).toBe('d1');
  });

  it('gives a lone source all of its places, and no more', async () => {
    const { come, refused } = room(3);
    await come('a1', 'a2', 'a3', 'a4', 'a5');
    expect(refused).toEqual(['a5']);
  });

  it('when it is full, turns away the newest of the source with most places', async () => {
    const { come, finish, served, refused } = room(4);
    await come('a1', 'a2', 'a3', 'a4', 'a5', 'b1', 'c1');
    expect(refused).toEqual(['a5', 'a4']);
    await finish(5);
    expect(served).toEqual(['a1', 'a2', 'b1', 'c1', 'a3']);
  });

  it('when each source has one place, turns away the one that comes', async () => {
    const { come, refused } = room(2);
    await come('x1', 'a1', 'b1', 'c1');
    expect(refused).toEqual(['c1']);
  });

  it('goes on when work fails', async () => {
    const fair = new FairRoom(1, 1);
    await expect(fair.serve('a', () => Promise.reject(new Error('failed')))).rejects.toThrow('failed');
    await expect(fair.serve('a', () => Promise.resolve('done'))).resolves.toBe('done');
  });
});
