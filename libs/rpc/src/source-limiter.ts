import { TokenBucket } from 'limiter';
import { LRUCache } from 'lru-cache';
import { RpcError } from './rpc-error.js';

/** How many sources are remembered; the one that was not heard of for longest is forgotten, and begins anew. Some 40 MB at most. */
const SOURCES = 100_000;

/** What a source may do: so much at once, and so much a minute after that. */
export interface SourceAllowance {
  readonly burst: number;
  readonly perMinute: number;
}

/**
 * A token bucket for each source of calls, in the memory of this process: of
 * several processes each counts what it is sent itself.
 */
export class SourceLimiter {
  private readonly buckets = new LRUCache<string, TokenBucket>({ max: SOURCES });

  constructor(private readonly allowance: SourceAllowance) {}

  /**
   * Counts against a source.
   *
   * @param weight how much; 1 is one of what is allowed.
   * @throws RpcError RESOURCE_EXHAUSTED that says when there is enough again; then nothing is counted.
   */
  take(source: string, weight: number): void {
    const bucket = this.bucketOf(source);
    if (bucket.tryRemoveTokens(weight)) return;
    throw RpcError.resourceExhausted('too many requests from your network, try again later', {
      reason: 'RATE_LIMIT_EXCEEDED',
      retryDelay: bucket.getWaitTime(weight),
    });
  }

  /** Counts less after all. */
  giveBack(source: string, weight: number): void {
    const bucket = this.buckets.get(source);
    if (bucket) bucket.content = Math.min(bucket.content + weight, bucket.bucketSize);
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
