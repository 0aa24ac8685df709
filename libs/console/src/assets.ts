import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { findPackageJSON } from 'node:module';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { FastifyReply, FastifyRequest } from 'fastify';

/** Where the build has put the page. The server may be bundled, so that its own place does not tell. */
const FOLDER = join(dirname(findPackageJSON(import.meta.url)!), 'dist/console');

const TYPES = {
  'console.js': 'text/javascript; charset=utf-8',
  'console.css': 'text/css; charset=utf-8',
  'log-in.js': 'text/javascript; charset=utf-8',
  'icon.svg': 'image/svg+xml',
} as const;

type AssetName = keyof typeof TYPES;

interface Asset {
  readonly etag: string;
  readonly plain: Buffer;
  readonly zipped: Buffer;
}

/** The page's own files: all that it loads. */
export class Assets {
  private readonly read = new Map<AssetName, Asset>();

  /** Answers with a file, packed where the browser unpacks it; asked again, only that it is still the same. */
  send(name: string, request: FastifyRequest, reply: FastifyReply): FastifyReply {
    if (!Object.hasOwn(TYPES, name)) return reply.code(404).send();
    const asset = this.asset(name as AssetName);
    reply.headers({ 'content-type': TYPES[name as AssetName], etag: asset.etag, 'cache-control': 'no-cache', vary: 'accept-encoding' });
    if (request.headers['if-none-match'] === asset.etag) return reply.code(304).send();
    if (!/\bgzip\b/.test(String(request.headers['accept-encoding']))) return reply.send(asset.plain);
    return reply.header('content-encoding', 'gzip').send(asset.zipped);
  }

  private asset(name: AssetName): Asset {
    const known = this.read.get(name);
    if (known) return known;
    const plain = readFileSync(join(FOLDER, name));
    const etag = `"${createHash('sha256').update(plain).digest('base64url')}"`;
    const asset = { etag, plain, zipped: gzipSync(plain) };
    this.read.set(name, asset);
    return asset;
  }
}
