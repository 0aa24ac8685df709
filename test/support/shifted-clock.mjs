// Loaded before a program of ours: its clock is wrong by CLOCK_SHIFT milliseconds, until SIGCONT sets it right.
// (Nest takes SIGUSR2, which would be the usual one, for the order to end.)
let shift = Number(process.env.CLOCK_SHIFT);
process.on('SIGCONT', () => (shift = 0));

const RealDate = Date;
globalThis.Date = class extends RealDate {
  constructor(...given) {
    if (given.length === 0) super(RealDate.now() + shift);
    else super(...given);
  }

  static now() {
    return RealDate.now() + shift;
  }
};
