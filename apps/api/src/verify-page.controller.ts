import { Body, Controller, Get, HttpCode, Post, Query, Res } from '@nestjs/common';
import { AccountService } from '@app/account';
import { isCutShort, isDatabaseUnavailable } from '@app/postgres';
import { Code, RpcError } from '@app/rpc';
import type { FastifyReply } from 'fastify';
import { confirmPage, invalidLinkPage, PAGE_HEADERS, tryAgainPage, verifiedPage } from './verify-page.js';

/** As in the contract; a longer one is no token. */
const MAX_TOKEN_LENGTH = 1024;

/** The page that the link in a verification mail opens. */
@Controller('verify-email')
export class VerifyPageController {
  constructor(private readonly accounts: AccountService) {}

  @Get()
  show(@Query('token') given: unknown, @Res({ passthrough: true }) reply: FastifyReply): string {
    const token = tokenFrom(given);
    return token === undefined ? send(reply, 400, invalidLinkPage()) : send(reply, 200, confirmPage(token));
  }

  @Post()
  @HttpCode(200)
  async verify(@Body() body: unknown, @Res({ passthrough: true }) reply: FastifyReply): Promise<string> {
    const token = tokenFrom(typeof body === 'object' && body !== null && 'token' in body ? body.token : undefined);
    if (token === undefined) return send(reply, 400, invalidLinkPage());
    try {
      await this.accounts.verifyEmail(token);
    } catch (error) {
      if (error instanceof RpcError && error.code === Code.FAILED_PRECONDITION) return send(reply, 400, invalidLinkPage());
      if (isDatabaseUnavailable(error) || isCutShort(error)) return send(reply, 503, tryAgainPage(token));
      throw error;
    }
    return send(reply, 200, verifiedPage());
  }
}

function tokenFrom(given: unknown): string | undefined {
  return typeof given === 'string' && given.length > 0 && given.length <= MAX_TOKEN_LENGTH ? given : undefined;
}

function send(reply: FastifyReply, status: number, html: string): string {
  reply.code(status).headers(PAGE_HEADERS);
  return html;
}
