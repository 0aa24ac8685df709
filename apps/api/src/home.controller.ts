import { Controller, Get, Headers, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { Config } from '@app/config';
import { linkButton, page, sendPage } from './page.js';

/** What somebody meets who opens the api in a browser, or was led here after verifying. */
@Controller()
export class HomeController {
  constructor(private readonly config: Config) {}

  @Get()
  show(@Headers('accept') accept = '', @Res({ passthrough: true }) reply: FastifyReply) {
    reply.header('vary', 'accept');
    if (accept.includes('application/json') && !accept.includes('text/html')) return { name: 'Waybill', status: 'running' };
    // Not a relative link, as the other pages have: under a path this page may have been opened with a slash at its end, or without.
    const newLink = linkButton(`${this.config.PUBLIC_URL}/verify-email/new`, 'Get a new verification link');
    return sendPage(
      reply,
      200,
      page('Waybill is running', 'It signs people up, and verifies that their e-mail address is theirs.', newLink),
    );
  }
}
