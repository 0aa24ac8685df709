// Blocks the event loop of the program that it is loaded into for LOOP_BLOCKED milliseconds, at each SIGCONT.
// (Nest takes SIGUSR2, which would be the usual one, for the order to end.)
process.on('SIGCONT', () => {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(process.env.LOOP_BLOCKED));
});
