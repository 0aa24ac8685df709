import { Body, Controller, Get, HttpCode, Post, Query, Res } from '@nestjs/common';
import { AccountService } from '@app/account';
import { Config } from '@app/config';
import { DatabaseReadiness } from '@app/database';
import { ResendVerificationEmailRequestSchema } from '@app/contract';
import { Code, messageFromJson, RpcError } from '@app/rpc';
import type { FastifyReply } from 'fastify';
import { textOf } from './form.js';
import { LinkRequests } from './link-requests.js';
import { sendPage } from './page.js';
import {
  changeDisownedPage,
  confirmChangePage,
  confirmPage,
  disownAgainPage,
  disownedPage,
  invalidLinkPage,
  linkSentPage,
  newLinkPage,
  nothingToDisownPage,
  tryAgainPage,
  verifiedAlreadyPage,
  verifiedPage,
} from './verify-page.js';

/** The page that the link in a verification mail opens, and the one that asks for a new link. */
@Controller('verify-email')
export class VerifyPageController {
  constructor(
    private readonly accounts: AccountService,
    private readonly config: Config,
    private readonly links: LinkRequests,
    private readonly database: DatabaseReadiness,
  ) {}

  @Get()
  async show(@Query() query: unknown, @Res({ passthrough: true }) reply: FastifyReply): Promise<string> {
    const token = textOf(query, 'token');
    try {
      const link = await this.accounts.findVerificationLink(token);
      if (!link) return sendPage(reply, 400, invalidLinkPage());
      if (link.isVerified) return sendPage(reply, 200, verifiedPage(link.username, this.config.APP_URL));
      return sendPage(reply, 200, link.isChange ? confirmChangePage(token, link.username) : confirmPage(token, link.username));
    } catch (error) {
      if (this.database.isPassing(error)) return sendPage(reply, 503, tryAgainPage(token));
      throw error;
    }
  }

  @Post()
  @HttpCode(200)
  async verify(@Body() body: unknown, @Res({ passthrough: true }) reply: FastifyReply): Promise<string> {
    const token = textOf(body, 'token');
    try {
      const { username } = await this.accounts.verifyEmail(token);
      return sendPage(reply, 200, verifiedPage(username, this.config.APP_URL));
    } catch (error) {
      if (error instanceof RpcError && error.code === Code.FAILED_PRECONDITION) return sendPage(reply, 400, invalidLinkPage());
      if (this.database.isPassing(error)) return sendPage(reply, 503, tryAgainPage(token));
      throw error;
    }
  }

  @Post('not-me')
  @HttpCode(200)
  async disown(@Body() body: unknown, @Res({ passthrough: true }) reply: FastifyReply): Promise<string> {
    const token = textOf(body, 'token');
    try {
      const disowned = await this.accounts.disown(token);
      if (disowned) return sendPage(reply, 200, disowned === 'change' ? changeDisownedPage() : disownedPage());
      const link = await this.accounts.findVerificationLink(token);
      return sendPage(reply, 400, link?.isVerified ? verifiedAlreadyPage(link.username) : nothingToDisownPage());
    } catch (error) {
      if (this.database.isPassing(error)) return sendPage(reply, 503, disownAgainPage(token));
      throw error;
    }
  }

  @Get('new')
  askForLink(@Res({ passthrough: true }) reply: FastifyReply): string {
    return sendPage(reply, 200, newLinkPage());
  }

  @Post('new')
  @HttpCode(200)
  mailLink(@Body() body: unknown, @Res({ passthrough: true }) reply: FastifyReply): Promise<string> {
    return this.links.answer(body, reply, {
      again: newLinkPage,
      sent: linkSentPage,
      request: (given) =>
        this.accounts.resendVerificationEmail(messageFromJson(ResendVerificationEmailRequestSchema, { email: given }).email),
    });
  }
}
