import { Tally } from './tally.ts';

/** What this process has run; here and not beside the no-op task, which loads the whole product. */
export const tally = new Tally();
