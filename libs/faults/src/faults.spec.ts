import { afterEach, expect, it } from 'vitest';
import { armFaults, faultPoint } from './faults.js';

afterEach(() => armFaults(undefined));

it('does nothing, not even a promise, while no fault is armed', () => {
  expect(faultPoint('relay.after-add')).toBeUndefined();
});

it('strikes at the pass that was asked for, and at no other', async () => {
  armFaults('relay.after-add:throw@2,mail.before-send:throw');
  expect(faultPoint('relay.after-add')).toBeUndefined();
  await expect(faultPoint('relay.after-add')).rejects.toThrow('a fault at relay.after-add');
  expect(faultPoint('relay.after-add')).toBeUndefined();
  await expect(faultPoint('mail.before-send')).rejects.toThrow('a fault at mail.before-send');
  expect(faultPoint('relay.after-claim')).toBeUndefined();
});

it.each(['', 'relay.after-add', 'relay.after-ad:kill', 'relay.after-add:burn', 'relay.after-add:kill@0'])('refuses "%s"', (text) => {
  expect(() => armFaults(text)).toThrow('FAULTS');
});
