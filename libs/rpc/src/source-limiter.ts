import { TokenBucket } from 'limiter';
import { LRUCache } from 'lru-cache';
import { RpcError } from './rpc-error.js';

/** How many sources a limiter remembers, in some 20 MB; the one that was not heard of for longest is forgotten, and begins anew. */
const SOURCES = 50_000;

/** How much of a call that is refused before it has cost anything does not count. */
const FREE_OF_REFUSED = 0.9;

/** How many calls a source may make: at once, and a minute after that. */
export interface SourceAllowance {
  readonly burst: number;
  readonly perMinute: number;
}

/**
 * A token bucket for each source of calls, in the memory of this process: of
 * several processes each counts what comes to itself.
 */
export class SourceLimiter {
  private readonly buckets = new LRUCache<string, TokenBucket>({ max: SOURCES });

  constructor(private readonly allowance: SourceAllowance) {}

  /**
   * Counts a call.
   *
   * @throws RpcError RESOURCE_EXHAUSTED that says when the next one is allowed; this one is not counted then.
   */
  take(source: string): void {
    const bucket = this.bucketOf(source);
    if (bucket.tryRemoveTokens(1)) return;
    throw RpcError.resourceExhausted('too many requests from your network, try again later', {
      reason: 'RATE_LIMIT_EXCEEDED',
      retryDelay: bucket.getWaitTime(1),
    });
  }

  /** A call that was counted has cost nothing, and counts a tenth; or less, if that is said. */
  giveBack(source: string, share = FREE_OF_REFUSED): void {
    const bucket = this.buckets.get(source);
    if (bucket) bucket.content = Math.min(bucket.content + share, bucket.bucketSize);
  }

  private bucketOf(source: string): TokenBucket {
    const known = this.buckets.get(source);
    if (known) return known;
    const { burst, perMinute } = this.allowance;
    const bucket = new TokenBucket({ bucketSize: burst, tokensPerInterval: perMinute, interval: 'minute' });
    bucket.content = burst;
    this.buckets.set(source, bucket);
    return bucket;
  }
}
