import type { DescMethod } from '@bufbuild/protobuf';
import type { Config } from '@app/config';
import { SessionService, UserService } from '@app/contract';
import { SourceLimiter } from '@app/rpc';

/** A link costs a task and no hash: a source may ask for so many times more of them than it may sign up. */
const LINKS_A_SIGN_UP = 10;

/** A refresh costs no hash, and comes every quarter of an hour from whoever is logged in behind one address. */
const REFRESHES_A_LOG_IN = 10;

/** What a source may call, and how often; what RPCs and pages do alike is counted together. */
export class SourceLimits {
  /** Who asks for a link, by RPC and on the pages. */
  readonly links: SourceLimiter;
  /** Who redeems a link with a new password, by RPC and on the page: a hash each, as a sign-up. */
  readonly resets: SourceLimiter;
  /** Who gives a password to prove who they are, by all RPCs that take one together: a hash each. */
  readonly passwords: SourceLimiter;
  /** By RPC. Redeeming a verification link is not counted: it costs one look at an index, and nobody can guess a token. */
  readonly byMethod: ReadonlyMap<DescMethod, SourceLimiter>;

  constructor({ SIGN_UP_BURST: burst, SIGN_UPS_PER_MINUTE: perMinute, LOG_IN_BURST, LOG_INS_PER_MINUTE }: Config) {
    this.passwords = new SourceLimiter({ burst: LOG_IN_BURST, perMinute: LOG_INS_PER_MINUTE });
    this.links = new SourceLimiter({ burst: LINKS_A_SIGN_UP * burst, perMinute: LINKS_A_SIGN_UP * perMinute });
    this.resets = new SourceLimiter({ burst, perMinute });
    const refreshes = new SourceLimiter({ burst: REFRESHES_A_LOG_IN * LOG_IN_BURST, perMinute: REFRESHES_A_LOG_IN * LOG_INS_PER_MINUTE });
    this.byMethod = new Map<DescMethod, SourceLimiter>([
      [UserService.method.createUser, new SourceLimiter({ burst, perMinute })],
      [UserService.method.resendVerificationEmail, this.links],
      [UserService.method.requestPasswordReset, this.links],
      [UserService.method.resetPassword, this.resets],
      [SessionService.method.createSession, this.passwords],
      [SessionService.method.refreshSession, refreshes],
      [UserService.method.changePassword, this.passwords],
      [UserService.method.changeEmail, this.passwords],
      [UserService.method.deleteUser, this.passwords],
    ]);
  }
}
