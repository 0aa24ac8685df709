import { describe, expect, it } from 'vitest';
import { clientAddress, sourceOf, trustOf, type TrustProxy } from './client-address.js';

describe('the address of a client', () => {
  it.each<[string, string | undefined, string | undefined, TrustProxy, string]>([
    ['is the peer when nobody is believed', '10.0.0.1', '192.0.2.1', false, '10.0.0.1'],
    ['is the farthest that is told when everybody is', '10.0.0.1', '192.0.2.1, 10.0.0.2', true, '192.0.2.1'],
    ['is that many hops away', '10.0.0.1', '192.0.2.1, 192.0.2.2', 1, '192.0.2.2'],
    ['is the nearest that is no trusted proxy', '10.0.0.1', '192.0.2.66, 192.0.2.1, 10.9.9.9', ['10.0.0.0/8'], '192.0.2.1'],
    ['is the peer when that is no trusted proxy', '192.0.2.7', '192.0.2.1', ['10.0.0.0/8', 'loopback'], '192.0.2.7'],
    ['is a proxy’s own when it calls for nobody', '10.0.0.1', undefined, ['10.0.0.0/8'], '10.0.0.1'],
    ['is never a text that is no address', '10.0.0.1', 'alice@example.com', true, '10.0.0.1'],
    ['is an IPv4 address, however it came', '::ffff:127.0.0.1', undefined, false, '127.0.0.1'],
    ['may be an IPv6 address', '::1', '2001:db8::1', ['loopback'], '2001:db8::1'],
    ['is unknown where there is none', undefined, '192.0.2.1', true, 'unknown'],
  ])('%s', (_name, peer, forwardedFor, trust, client) => {
    expect(clientAddress(peer, forwardedFor, trustOf(trust))).toBe(client);
  });
});

describe('the source of a client’s calls', () => {
  it.each([
    ['is an IPv4 address', '192.0.2.1', '192.0.2.1'],
    ['is the network of an IPv6 address', '2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['is the same for all of that network', '2001:db8:1:2::1', '2001:db8:1:2::/64'],
    ['is not the same for the next one', '2001:db8:1:3::1', '2001:db8:1:3::/64'],
    ['is an IPv4 address, however it is written', '::ffff:c000:0201', '192.0.2.1'],
    ['is a network on one link', 'fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['is unknown where the client is', 'unknown', 'unknown'],
  ])('%s', (_name, client, source) => {
    expect(sourceOf(client)).toBe(source);
  });
});
