import type { DescMethod } from '@bufbuild/protobuf';
import { UserService } from '@app/contract';

/** How much asking for another link counts against its source, by RPC and on the page: it costs a task, and no hash. */
export const RESEND_WEIGHT = 0.1;

/**
 * How much a call counts against its source. Redeeming a link is not counted: it
 * costs one look at an index, and nobody can guess a token.
 */
export const WEIGHTS: ReadonlyMap<DescMethod, number> = new Map<DescMethod, number>([
  [UserService.method.createUser, 1],
  [UserService.method.resendVerificationEmail, RESEND_WEIGHT],
]);
