import type { IncomingMessage } from 'node:http';
import { isIP } from 'node:net';
import { Logger } from '@nestjs/common';
import proxyAddr from '@fastify/proxy-addr';
import ipaddr from 'ipaddr.js';

const logger = new Logger('Rpc');

/**
 * Which peers are believed when they say for whom they call (X-Forwarded-For):
 * nobody, everybody, that many hops, or the proxies at those addresses
 * (`10.0.0.0/8`, `loopback`).
 */
export type TrustProxy = boolean | number | readonly string[];

/** Whether the proxy at an address, that many hops away, is believed. */
export type Trust = (address: string, hop: number) => boolean;

export function trustOf(setting: TrustProxy): Trust {
  if (setting === false) return trustNobody();
  if (setting === true) return () => true;
  if (typeof setting === 'number') return (_address, hop) => hop < setting;
  return proxyAddr.compile([...setting]);
}

/** Says once when it is asked, which it is for what a proxy may have sent: behind one that is not trusted all clients are one. */
function trustNobody(): Trust {
  let isSaid = false;
  return () => {
    if (!isSaid) logger.warn('a request came with X-Forwarded-For, and TRUST_PROXY is not set: all clients of a proxy count as one source');
    isSaid = true;
    return false;
  };
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

/**
 * Whom the calls of a client count for: its address, or of IPv6 the network of 64
 * bits, because whoever has one address there has all of its network.
 */
export function sourceOf(client: string): string {
  if (isIP(client) !== 6) return client;
  const address = ipaddr.process(client);
  if (address.kind() === 'ipv4') return address.toString();
  const network = (address as ipaddr.IPv6).parts.slice(0, 4).map((part) => part.toString(16));
  return `${network.join(':')}::/64`;
}

/** An IPv4 address that came over an IPv6 socket is the same client. */
function plain(address: string | undefined): string {
  return (address ?? 'unknown').replace(/^::ffff:(?=\d+\.)/i, '');
}
