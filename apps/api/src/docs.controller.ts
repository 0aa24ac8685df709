import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { gzipSync } from 'node:zlib';
import { Controller, Get, Headers, NotFoundException, Param, Res } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { sendPage } from './page.js';

const require = createRequire(import.meta.url);

/**
 * Starts Swagger UI. Where the system is dark, so is it; and it shows no id that it has made up, for each call has one of its own.
 */
const START = `
const dark = matchMedia('(prefers-color-scheme: dark)');
const show = () => document.documentElement.classList.toggle('dark-mode', dark.matches);
show();
dark.addEventListener('change', show);
SwaggerUIBundle({
  url: 'openapi.json',
  dom_id: '#reference',
  deepLinking: true,
  tryItOutEnabled: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  syntaxHighlight: { activated: false },
  validatorUrl: null,
});
`;

const STYLE = `
body{margin:0;background:#fff}
html.dark-mode body{background:#1c2022}
.swagger-ui .wrapper{max-width:60rem}
`;

/** All from here, and calls to here only. Swagger UI sets styles of its own and draws its icons as data. */
const CONTENT_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>API reference · Waybill</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
<link rel="stylesheet" href="docs/waybill.css">
</head>
<body>
<div id="reference"></div>
<noscript>This page needs scripts; the contract itself is at <a href="openapi.json">openapi.json</a>.</noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/waybill.js"></script>
</body>
</html>
`;

interface Asset {
  readonly type: string;
  readonly etag: string;
  readonly plain: Buffer;
  readonly zipped: Buffer;
}

function asset(type: string, content: Buffer | string): Asset {
  const plain = Buffer.from(content);
  return { type, plain, zipped: gzipSync(plain), etag: `"${createHash('sha256').update(plain).digest('base64url')}"` };
}

const packaged = (type: string, name: string) => asset(type, readFileSync(require.resolve(`swagger-ui-dist/${name}`)));

/** The reference of the api, in which calls can be tried: Swagger UI, with every part of it from here. */
@Controller()
export class DocsController {
  /** Made when it is first asked for: most processes are never. */
  private assets: Readonly<Record<string, Asset>> | undefined;

  @Get('docs')
  show(@Res({ passthrough: true }) reply: FastifyReply): string {
    return sendPage(reply, 200, PAGE, CONTENT_POLICY);
  }

  @Get('docs/:name')
  send(
    @Param('name') name: string,
    @Headers('accept-encoding') encodings = '',
    @Headers('if-none-match') known: string | undefined,
    @Res({ passthrough: true }) reply: FastifyReply,
  ): Buffer | undefined {
    this.assets ??= {
      'swagger-ui.css': packaged('text/css; charset=utf-8', 'swagger-ui.css'),
      'swagger-ui-bundle.js': packaged('text/javascript; charset=utf-8', 'swagger-ui-bundle.js'),
      'favicon-32x32.png': packaged('image/png', 'favicon-32x32.png'),
      'waybill.css': asset('text/css; charset=utf-8', STYLE),
      'waybill.js': asset('text/javascript; charset=utf-8', START),
    };
    const found = Object.hasOwn(this.assets, name) ? this.assets[name] : undefined;
    if (!found) throw new NotFoundException();
    reply.headers({ 'content-type': found.type, etag: found.etag, 'cache-control': 'public, max-age=300', vary: 'accept-encoding' });
    if (known === found.etag) return void reply.status(304);
    if (!/\bgzip\b/.test(encodings)) return found.plain;
    reply.header('content-encoding', 'gzip');
    return found.zipped;
  }
}
