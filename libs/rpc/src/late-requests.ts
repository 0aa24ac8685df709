import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { limit } from '@app/postgres';

/** How long what has arrived may take to be read. Milliseconds. */
const READING = 1_000;

/**
 * The requests that are too late to Node, which looks at its clock before it reads the
 * sockets: when its event loop was blocked, or the process stopped, a request that has
 * long been there is late, too. So whatever has arrived is read before anybody is refused.
 */
export class LateRequests {
  private readonly newest = new WeakMap<Socket, IncomingMessage>();

  /** The head of a request has arrived. */
  begun(request: IncomingMessage): void {
    this.newest.set(request.socket, request);
  }

  /** @param refuse called when the request on the socket has not arrived after all. */
  isLate(socket: Socket, refuse: () => void): void {
    const before = this.newest.get(socket);
    // Then it is the next one that is late, whose head is not there.
    const wasComplete = before?.complete === true;
    limit(READING, () => {
      const request = this.newest.get(socket);
      if (!request?.complete || (request === before && wasComplete)) refuse();
    });
  }
}
