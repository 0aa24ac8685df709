import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import proxyAddr from '@fastify/proxy-addr';

/**
 * Which peers are believed when they say for whom they call (X-Forwarded-For):
 * nobody, everybody, that many hops, or the proxies at those addresses
 * (`10.0.0.0/8`, `loopback`).
 */
export type TrustProxy = boolean | number | readonly string[];

/** Whether the proxy at an address, that many hops away, is believed. */
export type Trust = (address: string, hop: number) => boolean;

export function trustOf(setting: TrustProxy): Trust {
  if (typeof setting === 'boolean') return () => setting;
  if (typeof setting === 'number') return (_address, hop) => hop < setting;
  return proxyAddr.compile([...setting]);
}

/**
 * The IP address of the client: the nearest that is no trusted proxy.
 *
 * @param peer the address at the other end of the connection.
 * @param forwardedFor the X-Forwarded-For that came with the request.
 */
export function clientAddress(peer: string | undefined, forwardedFor: string | undefined, trust: Trust): string {
  const request = { socket: { remoteAddress: peer }, headers: { 'x-forwarded-for': forwardedFor } } as unknown as IncomingMessage;
  const address = forwardedFor === undefined || peer === undefined ? peer : proxyAddr(request, trust);
  // Whoever may write the header may write anything into it.
  return plain(isIP(address ?? '') === 0 ? peer : address);
}

/** An IPv4 address that came over an IPv6 socket is the same client. */
function plain(address: string | undefined): string {
  return (address ?? 'unknown').replace(/^::ffff:(?=\d+\.)/i, '');
}
