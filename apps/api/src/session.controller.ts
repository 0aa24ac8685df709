import { Controller } from '@nestjs/common';
import { AccessTokens, LogIns, Sessions } from '@app/account';
import {
  type CreateSessionRequest,
  type DeleteOtherSessionsRequest,
  type DeleteSessionRequest,
  type ListSessionsRequest,
  type RefreshSessionRequest,
  SessionService,
} from '@app/contract';
import { currentIdentity, identifyCaller, Message, Rpc, RpcError } from '@app/rpc';
import { validate as isUuid } from 'uuid';
import { sessionMessage, tokensMessage, userMessage } from './messages.js';

/** account.v1.SessionService, on both transports. */
@Controller()
export class SessionController {
  constructor(
    private readonly logIns: LogIns,
    private readonly accessTokens: AccessTokens,
    private readonly sessions: Sessions,
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

  @Rpc(SessionService.method.refreshSession)
  async refreshSession(@Message() request: RefreshSessionRequest) {
    const refreshed = await this.sessions.refresh(request.refreshToken);
    if (!refreshed) {
      throw RpcError.unauthenticated('this refresh token is not valid, or no longer: log in', { reason: 'REFRESH_TOKEN_INVALID' });
    }
    const { session, roles, refreshToken } = refreshed;
    identifyCaller(session.userId);
    const accessToken = await this.accessTokens.issue({ userId: session.userId, sessionId: session.id, roles });
    return { session: sessionMessage(session, session.id), tokens: tokensMessage(accessToken, refreshToken) };
  }

  @Rpc(SessionService.method.listSessions)
  async listSessions(@Message() _request: ListSessionsRequest) {
    const { userId, sessionId } = currentIdentity();
    const sessions = await this.sessions.list(userId);
    return { sessions: sessions.map((session) => sessionMessage(session, sessionId)) };
  }

  @Rpc(SessionService.method.deleteSession)
  async deleteSession(@Message() request: DeleteSessionRequest) {
    const { userId, sessionId } = currentIdentity();
    const id = request.sessionId === 'current' ? sessionId : request.sessionId;
    if (!isUuid(id) || !(await this.sessions.end(userId, id))) {
      throw RpcError.notFound('you have no such session', { reason: 'SESSION_NOT_FOUND' });
    }
    return {};
  }

  @Rpc(SessionService.method.deleteOtherSessions)
  async deleteOtherSessions(@Message() _request: DeleteOtherSessionsRequest) {
    return { deleted: await this.sessions.endOthers(currentIdentity()) };
  }
}
