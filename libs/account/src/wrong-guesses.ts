import { type SourceAllowance, SourceLimiter } from '@app/rpc';

/** Counts the wrong guesses at passwords, in the memory of this process, as the limits of sources are. */
export class WrongGuesses {
  private readonly limiter: SourceLimiter;

  /** @param allowance how many wrong ones are listened to. */
  constructor(allowance: SourceAllowance) {
    this.limiter = new SourceLimiter(allowance);
  }

  /**
   * Checks a password. It is counted beforehand, so that many at once are no more
   * than were allowed, and given back unless it was wrong: also when it could not
   * be checked at all.
   *
   * @param key at whose password it is a guess.
   * @returns whether it was right.
   * @throws RpcError RESOURCE_EXHAUSTED after too many wrong ones; and whatever the check throws.
   */
  async listen(key: string, check: () => Promise<boolean>): Promise<boolean> {
    this.limiter.take(key);
    let isWrong = false;
    try {
      isWrong = !(await check());
      return !isWrong;
    } finally {
      if (!isWrong) this.limiter.giveBack(key, 1);
    }
  }
}
