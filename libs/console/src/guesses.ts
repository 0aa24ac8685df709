import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { TokenBucket } from 'limiter';
import { LRUCache } from 'lru-cache';

/** How many wrong passwords a source may try at once, and then a minute; a right one has to wait as well. */
const GUESSES = { bucketSize: 10, tokensPerInterval: 10, interval: 'minute' } as const;
/** How many sources are remembered; the one that was not heard of for longest is forgotten. */
const GUESSERS = 10_000;

/** Counts the wrong passwords of each source: an IPv4 address, or a /64 of IPv6, of which whoever has one address has all. */
export class Guesses {
  private readonly buckets = new LRUCache<string, TokenBucket>({ max: GUESSERS });

  /** Counts one. @returns how long to wait when it is one too many, in milliseconds, or 0. */
  take(address: string): number {
    const source = sourceOf(address);
    let bucket = this.buckets.get(source);
    if (!bucket) {
      bucket = new TokenBucket(GUESSES);
      bucket.content = GUESSES.bucketSize;
      this.buckets.set(source, bucket);
    }
    return bucket.tryRemoveTokens(1) ? 0 : bucket.getWaitTime(1);
  }

  /** The one that was counted last was right. */
  giveBack(address: string): void {
    const bucket = this.buckets.get(sourceOf(address));
    if (bucket) bucket.content = Math.min(bucket.content + 1, bucket.bucketSize);
  }
}

function sourceOf(client: string): string {
  if (isIP(client) !== 6) return client;
  const address = ipaddr.process(client);
  return address instanceof ipaddr.IPv6 ? address.parts.slice(0, 4).join(':') : address.toString();
}
