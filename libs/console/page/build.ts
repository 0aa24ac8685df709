/** Bundles the console's page into dist, beside the compiled server that serves it. */
import { join } from 'node:path';
import { build } from 'esbuild';

await build({
  entryPoints: ['console.tsx', 'console.css', 'log-in.ts', 'icon.svg'].map((name) => join(import.meta.dirname, name)),
  outdir: join(import.meta.dirname, '../../../dist/libs/console/page'),
  bundle: true,
  minify: true,
  format: 'iife',
  target: 'es2022',
  loader: { '.svg': 'copy' },
  logLevel: 'warning',
});
