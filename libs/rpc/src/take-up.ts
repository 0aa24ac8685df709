import type { Server } from 'node:net';
import { setImmediate } from 'node:timers/promises';

/** How many connections may wait to be taken up: Node's default for a server that listens. */
const BACKLOG = 511;

/**
 * Takes up the connections that wait at a server, and reads what has come on them;
 * call it before the server closes. After a standstill both would be reset, for a
 * connection looks idle until its request is read. The loop takes up one connection
 * a turn, and reads from it in the next one.
 */
export async function takeUpWhatHasArrived(server: Server): Promise<void> {
  let [isNew, turns] = [true, 0];
  const note = () => (isNew = true);
  server.on('connection', note);
  for (; isNew && turns < BACKLOG; turns++) {
    isNew = false;
    await setImmediate();
    if (!isNew) await setImmediate();
  }
  server.off('connection', note);
}
