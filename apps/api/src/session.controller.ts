import { Controller } from '@nestjs/common';
import { AccessTokens, LogIns } from '@app/account';
import { type CreateSessionRequest, SessionService } from '@app/contract';
import { Message, Rpc } from '@app/rpc';
import { sessionMessage, tokensMessage, userMessage } from './messages.js';

/** account.v1.SessionService, on both transports. */
@Controller()
export class SessionController {
  constructor(
    private readonly logIns: LogIns,
    private readonly accessTokens: AccessTokens,
  ) {}

  @Rpc(SessionService.method.createSession)
  async createSession(@Message() { login, password }: CreateSessionRequest) {
    const { user, session, refreshToken } = await this.logIns.logIn(login, password);
    const accessToken = await this.accessTokens.issue({ userId: user.id, sessionId: session.id, roles: user.roles });
    return {
      session: sessionMessage(session, session.id),
      tokens: tokensMessage(accessToken, refreshToken),
      user: userMessage(user),
    };
  }
}
