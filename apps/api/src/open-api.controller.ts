import { createHash } from 'node:crypto';
import { Controller, Get, Header, Headers, Res } from '@nestjs/common';
import { Config } from '@app/config';
import { openApi } from '@app/contract';
import type { FastifyReply } from 'fastify';

/** The contract as OpenAPI 3.1 says it, for tools, with the path under which this api is reached. */
@Controller()
export class OpenApiController {
  private readonly document: string;
  private readonly etag: string;

  constructor({ PUBLIC_URL }: Config) {
    const path = new URL(PUBLIC_URL).pathname.replace(/\/$/, '');
    this.document = JSON.stringify({ ...openApi, servers: openApi.servers.map((server) => ({ ...server, url: path || '/' })) });
    this.etag = `"${createHash('sha256').update(this.document).digest('base64url')}"`;
  }

  @Get('openapi.json')
  @Header('content-type', 'application/json')
  // The contract is of the release: a deploy may change it at any time.
  @Header('cache-control', 'no-cache')
  show(@Headers('if-none-match') known: string | undefined, @Res({ passthrough: true }) reply: FastifyReply): string | undefined {
    reply.header('etag', this.etag);
    if (known === this.etag) return void reply.status(304);
    return this.document;
  }
}
