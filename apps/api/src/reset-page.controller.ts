import { Body, Controller, Get, HttpCode, Post, Query, Res } from '@nestjs/common';
import { PasswordResets } from '@app/account';
import { Config } from '@app/config';
import { DatabaseReadiness } from '@app/database';
import { RequestPasswordResetRequestSchema, ResetPasswordRequestSchema } from '@app/contract';
import { Code, currentSource, messageFromJson, RpcError } from '@app/rpc';
import type { FastifyReply } from 'fastify';
import { textOf } from './form.js';
import { LinkRequests, retryLater, TOO_MANY } from './link-requests.js';
import { sendPage } from './page.js';
import {
  askForResetPage,
  invalidResetLinkPage,
  newPasswordPage,
  passwordSetPage,
  resetAgainPage,
  resetLinkSentPage,
} from './reset-page.js';
import { SourceLimits } from './source-limits.js';

/** The page that the link for a new password opens, and the one that asks for such a link. */
@Controller('reset-password')
export class ResetPageController {
  constructor(
    private readonly accounts: PasswordResets,
    private readonly config: Config,
    private readonly limits: SourceLimits,
    private readonly links: LinkRequests,
    private readonly database: DatabaseReadiness,
  ) {}

  @Get()
  async show(@Query() query: unknown, @Res({ passthrough: true }) reply: FastifyReply): Promise<string> {
    const token = textOf(query, 'token');
    try {
      const account = await this.accounts.find(token);
      return account ? sendPage(reply, 200, newPasswordPage(token, account.username)) : sendPage(reply, 400, invalidResetLinkPage());
    } catch (error) {
      if (this.database.isPassing(error)) return sendPage(reply, 503, resetAgainPage(token));
      throw error;
    }
  }

  @Post()
  @HttpCode(200)
  async reset(@Body() body: unknown, @Res({ passthrough: true }) reply: FastifyReply): Promise<string> {
    const token = textOf(body, 'token');
    const source = currentSource() ?? '';
    try {
      this.limits.resets.take(source);
      const request = messageFromJson(ResetPasswordRequestSchema, { token, new_password: textOf(body, 'password') });
      await this.accounts.redeem(request.token, request.newPassword);
      return sendPage(reply, 200, passwordSetPage(this.config.APP_URL));
    } catch (error) {
      if (this.database.isPassing(error)) return sendPage(reply, 503, resetAgainPage(token));
      if (!(error instanceof RpcError)) throw error;
      return this.showRefused(error, token, source, reply);
    }
  }

  @Get('new')
  askForLink(@Res({ passthrough: true }) reply: FastifyReply): string {
    return sendPage(reply, 200, askForResetPage());
  }

  @Post('new')
  @HttpCode(200)
  mailLink(@Body() body: unknown, @Res({ passthrough: true }) reply: FastifyReply): Promise<string> {
    return this.links.answer(body, reply, {
      again: askForResetPage,
      sent: resetLinkSentPage,
      request: (given) => this.accounts.request(messageFromJson(RequestPasswordResetRequestSchema, { email: given }).email),
    });
  }

  /** What a password was refused for: it may not be one, its link is over, or too many are waiting. */
  private async showRefused(error: RpcError, token: string, source: string, reply: FastifyReply): Promise<string> {
    if (error.code === Code.RESOURCE_EXHAUSTED) {
      const account = await this.accounts.find(token);
      return account
        ? sendPage(retryLater(reply, error), 429, newPasswordPage(token, account.username, TOO_MANY))
        : sendPage(retryLater(reply, error), 429, invalidResetLinkPage());
    }
    // No password was hashed.
    this.limits.resets.giveBack(source);
    const problem = error.violations.find(({ field }) => field === 'new_password')?.description;
    const account = problem !== undefined && (await this.accounts.find(token));
    return account
      ? sendPage(reply, 400, newPasswordPage(token, account.username, `It ${problem}.`))
      : sendPage(reply, 400, invalidResetLinkPage());
  }
}
