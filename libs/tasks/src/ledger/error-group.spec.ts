import { describe, expect, it } from 'vitest';
import { errorGroup } from './error-group.js';

describe('the group of an error', () => {
  it.each([
    ['550 no such user <[address]>', '550 no such user <[address]>'],
    ['the user 019bf5a2-7a55-7c3a-9d51-0d2f3c6b7a10 is gone', 'the user … is gone'],
    ['took 1234 ms, and 10.5 s before', 'took … ms, and … s before'],
    ['connect ECONNREFUSED 127.0.0.1:5432', 'connect ECONNREFUSED …'],
    ['block 0xdeadbeef at 9f86d081884c7d65', 'block … at …'],
    ['deadbeef is a word, and so is facade', 'deadbeef is a word, and so is facade'],
    ['first\nsecond 7', 'first'],
    ['\n  after   a line\tbreak', 'after a line break'],
    ['', ''],
  ])('%j is %j', (error, group) => expect(errorGroup(error)).toBe(group));

  it('has at most 200 characters, whole ones', () => {
    expect(errorGroup('x'.repeat(9_000))).toHaveLength(200);
    expect(errorGroup(`${'x'.repeat(199)}😀`).isWellFormed()).toBe(true);
  });

  it('is found in linear time', () => {
    const begin = performance.now();
    for (const part of ['1.', '1', 'a', ' ', 'a1', '-', '0x']) errorGroup(part.repeat(8_192));
    expect(performance.now() - begin).toBeLessThan(200);
  });
});
