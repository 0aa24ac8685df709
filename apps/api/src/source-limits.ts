import type { DescMethod } from '@bufbuild/protobuf';
import type { Config } from '@app/config';
import { UserService } from '@app/contract';
import { SourceLimiter } from '@app/rpc';

/** A link costs a task and no hash: a source may ask for so many times more of them than it may sign up. */
const LINKS_A_SIGN_UP = 10;

/** Counts who asks for another link, by RPC and on the page. */
export class LinkLimiter extends SourceLimiter {
  constructor({ SIGN_UP_BURST, SIGN_UPS_PER_MINUTE }: Config) {
    super({ burst: LINKS_A_SIGN_UP * SIGN_UP_BURST, perMinute: LINKS_A_SIGN_UP * SIGN_UPS_PER_MINUTE });
  }
}

/**
 * What a source may call, and how often. Redeeming a link is not counted: it costs
 * one look at an index, and nobody can guess a token.
 */
export function sourceLimits(config: Config, links: LinkLimiter): ReadonlyMap<DescMethod, SourceLimiter> {
  const signUps = new SourceLimiter({ burst: config.SIGN_UP_BURST, perMinute: config.SIGN_UPS_PER_MINUTE });
  return new Map<DescMethod, SourceLimiter>([
    [UserService.method.createUser, signUps],
    [UserService.method.resendVerificationEmail, links],
  ]);
}
