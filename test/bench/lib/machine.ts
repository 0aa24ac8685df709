import { cpus, loadavg, release, totalmem } from 'node:os';

/** Where and under which load the figures were taken. */
export function machine() {
  return {
    cpus: cpus().length,
    model: cpus()[0]?.model ?? 'unknown',
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    platform: `${process.platform} ${release()}`,
    node: process.version,
    load: loadavg().map((load) => Math.round(load * 100) / 100),
  };
}
