import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { limit } from '@app/postgres';

/** How long what has arrived may take to be read. Milliseconds. */
const READING = 1_000;

interface Wait {
  /** The request that is waited for, once its head has arrived. */
  request: IncomingMessage | undefined;
}

/**
 * Requests and connections that are too late to Node, which looks at its clock before it
 * reads the sockets: when its event loop was blocked, or the process stopped, a request
 * that has long been there is late, too. So whatever has arrived is read before anybody
 * is refused.
 */
export class LateRequests {
  private readonly arriving = new WeakMap<Socket, IncomingMessage>();
  private readonly waits = new WeakMap<Socket, Wait>();

  /** The head of a request has arrived. */
  begun(request: IncomingMessage): void {
    const wait = this.waits.get(request.socket);
    if (wait) wait.request ??= request;
    this.arriving.set(request.socket, request);
  }

  /** All of a request has arrived, or nothing more of it is read. */
  arrived(request: IncomingMessage): void {
    if (this.arriving.get(request.socket) === request) this.arriving.delete(request.socket);
  }

  /** @param refuse called when the request that is late has not arrived after all. */
  isLate(socket: Socket, refuse: () => void): void {
    this.wait(socket, this.arriving.get(socket), (request) => {
      if (!request?.complete) refuse();
    });
  }

  /** @param end called when no request has come on the connection that was idle for too long. */
  isIdle(socket: Socket, end: () => void): void {
    this.wait(socket, undefined, (request) => {
      if (!request) end();
    });
  }

  private wait(socket: Socket, request: IncomingMessage | undefined, over: (request: IncomingMessage | undefined) => void): void {
    const wait: Wait = { request };
    this.waits.set(socket, wait);
    limit(READING, () => {
      if (this.waits.get(socket) === wait) this.waits.delete(socket);
      over(wait.request);
    });
  }
}
