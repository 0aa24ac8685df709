import { Injectable } from '@nestjs/common';
import { DatabaseReadiness } from '@app/database';
import { Code, currentSource, RpcError } from '@app/rpc';
import type { FastifyReply } from 'fastify';
import { textOf } from './form.js';
import { sendPage } from './page.js';
import { SourceLimits } from './source-limits.js';

/** What is said to whoever asks too often. */
export const TOO_MANY = 'Too many requests come from your network. Please try again in a minute.';

/** A form that has a link mailed to an address. */
export interface LinkForm {
  /** The form once more, with what was given and what is wrong with it. */
  readonly again: (given: string, problem: string) => string;
  readonly sent: () => string;
  /** Has the link mailed. @throws RpcError INVALID_ARGUMENT for what is no address. */
  readonly request: (email: string) => Promise<void>;
}

/** Answers the forms that have a link mailed: whatever goes wrong, the form comes again with what was typed. */
@Injectable()
export class LinkRequests {
  constructor(
    private readonly limits: SourceLimits,
    private readonly database: DatabaseReadiness,
  ) {}

  async answer(body: unknown, reply: FastifyReply, { again, sent, request }: LinkForm): Promise<string> {
    const email = textOf(body, 'email').trim();
    try {
      this.limits.links.take(currentSource() ?? '');
      await request(email);
      return sendPage(reply, 200, sent());
    } catch (error) {
      if (error instanceof RpcError && error.code === Code.INVALID_ARGUMENT) {
        return sendPage(reply, 400, again(email, 'This is not an e-mail address.'));
      }
      if (error instanceof RpcError && error.code === Code.RESOURCE_EXHAUSTED) {
        return sendPage(retryLater(reply, error), 429, again(email, TOO_MANY));
      }
      if (this.database.isPassing(error)) {
        return sendPage(reply, 503, again(email, 'That did not work just now. Please try again in a moment.'));
      }
      throw error;
    }
  }
}

/** Says in a header when the next request is answered. */
export function retryLater(reply: FastifyReply, error: RpcError): FastifyReply {
  return reply.header('retry-after', Math.ceil((error.retryDelay ?? 0) / 1_000));
}
