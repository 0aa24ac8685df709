/** Bundles the console's page into dist, where its server finds it. */
import { join } from 'node:path';
import { build } from 'esbuild';

await build({
  entryPoints: ['console.tsx', 'console.css', 'log-in.ts', 'icon.svg'].map((name) => join(import.meta.dirname, name)),
  outdir: join(import.meta.dirname, '../../../dist/console'),
  bundle: true,
  minify: true,
  format: 'iife',
  target: 'es2022',
  loader: { '.svg': 'copy' },
  logLevel: 'warning',
});
