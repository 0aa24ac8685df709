import { Body, Controller, Get, HttpCode, Post, Query, Res } from '@nestjs/common';
import { DatabaseReadiness } from '@app/database';
import { EmailChanges } from '@app/account';
import { Code, RpcError } from '@app/rpc';
import type { FastifyReply } from 'fastify';
import { textOf } from './form.js';
import { sendPage } from './page.js';
import { confirmUndoPage, invalidUndoLinkPage, undoAgainPage, undonePage } from './undo-page.js';

/** The page of the link that takes the former address of an account back. */
@Controller('undo-email-change')
export class UndoPageController {
  constructor(
    private readonly changes: EmailChanges,
    private readonly database: DatabaseReadiness,
  ) {}

  @Get()
  show(@Query() query: unknown, @Res({ passthrough: true }) reply: FastifyReply): Promise<string> {
    const token = textOf(query, 'token');
    return this.answer(token, reply, async () => {
      const account = await this.changes.findUndo(token);
      return account && confirmUndoPage(token, account.username);
    });
  }

  @Post()
  @HttpCode(200)
  undo(@Body() body: unknown, @Res({ passthrough: true }) reply: FastifyReply): Promise<string> {
    const token = textOf(body, 'token');
    return this.answer(token, reply, async () => {
      const account = await this.changes.undo(token);
      return account && undonePage(account.username);
    });
  }

  private async answer(token: string, reply: FastifyReply, find: () => Promise<string | undefined>): Promise<string> {
    try {
      const found = await find();
      return found === undefined ? sendPage(reply, 400, invalidUndoLinkPage()) : sendPage(reply, 200, found);
    } catch (error) {
      // The database cannot serve, or too many passwords are being hashed.
      const isPassing = this.database.isPassing(error) || (error instanceof RpcError && error.code === Code.RESOURCE_EXHAUSTED);
      if (isPassing) return sendPage(reply, 503, undoAgainPage(token));
      throw error;
    }
  }
}
