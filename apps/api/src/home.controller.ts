import { Controller, Get, Headers, Res } from '@nestjs/common';
import { Config } from '@app/config';
import { DatabaseReadiness } from '@app/database';
import type { FastifyReply } from 'fastify';
import { linkButton, page, sendPage, textLink } from './page.js';

/** What somebody meets who opens the api in a browser, or was led here after verifying. */
@Controller()
export class HomeController {
  constructor(
    private readonly config: Config,
    private readonly readiness: DatabaseReadiness,
  ) {}

  @Get()
  async show(@Headers('accept') accept = '', @Res({ passthrough: true }) reply: FastifyReply) {
    reply.header('vary', 'accept');
    const isWell = await this.readiness.isReady();
    // Not relative links, as the other pages have: under a path this page may have been opened with a slash at its end, or without.
    const at = (path: string) => `${this.config.PUBLIC_URL}/${path}`;
    if (accept.includes('application/json') && !accept.includes('text/html')) {
      return { name: 'Waybill', status: isWell ? 'running' : 'unavailable', docs: at('docs'), openapi: at('openapi.json') };
    }
    const { isProduction, MAILBOX_URL } = this.config;
    const links = [
      textLink(at('verify-email/new'), 'Get a new verification link'),
      textLink(at('reset-password/new'), 'Choose a new password'),
      textLink(at('openapi.json'), 'The contract as OpenAPI 3.1'),
      ...(isProduction || MAILBOX_URL === undefined ? [] : [textLink(MAILBOX_URL, 'The mailbox, for development')]),
    ];
    const text = isWell
      ? 'It signs people up, and verifies that their e-mail address is theirs.'
      : `It cannot serve at the moment: ${this.readiness.reason ?? 'it is not ready'}.`;
    return sendPage(
      reply,
      200,
      page(
        isWell ? 'Waybill is running' : 'Waybill is not well',
        text,
        `${linkButton(at('docs'), 'Read and try the API')}\n<ul>${links.map((link) => `<li>${link}</li>`).join('')}</ul>`,
      ),
    );
  }
}
