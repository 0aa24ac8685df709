/**
 * Bundles the compiled programs with what they need from node_modules: `dist/api.js`, `dist/worker.js` and the commands.
 * To find, read and link their two and a half thousand modules one by one takes more than half of the time they need to start.
 */
import { existsSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Plugin, rolldown } from 'rolldown';

const ROOT = join(import.meta.dirname, '..');

/** What finds files of its own beside its code (protos, native code, the code of a thread): it stays in node_modules. */
const APART = [/^@grpc\//, /^grpc-health-check$/, /^@node-rs\/argon2$/, /^pino(-.*)?$/, /^thread-stream$/, /^swagger-ui-dist$/];

/** Leads stack traces to our sources. The libraries' own maps are left out: they would be most of what a trace has to read. */
const maps: Plugin = {
  name: 'maps',
  async load(id) {
    if (!/\.[cm]?js$/.test(id)) return null;
    const code = await readFile(id, 'utf8');
    if (id.includes('node_modules')) return { code, map: { mappings: '' } };
    const map = `${id}.map`;
    return { code, map: existsSync(map) ? await readFile(map, 'utf8') : null };
  },
};

const compiled = join(ROOT, 'dist/apps');
const bundle = await rolldown({
  cwd: ROOT,
  input: {
    api: join(compiled, 'api/src/main.js'),
    worker: join(compiled, 'worker/src/main.js'),
    migrate: join(compiled, 'worker/src/migrate.js'),
    tasks: join(compiled, 'worker/src/tasks.js'),
    user: join(compiled, 'worker/src/user.js'),
  },
  platform: 'node',
  external: APART,
  plugins: [maps],
  onLog(level, log, write) {
    // What a library looks for, and does without, is not there when the app runs either.
    if (log.code === 'UNRESOLVED_IMPORT' && log.id?.includes('node_modules')) return;
    write(level === 'warn' && !log.id?.includes('node_modules') ? 'error' : level, log);
  },
});
rmSync(join(ROOT, 'dist/chunks'), { recursive: true, force: true });
await bundle.write({
  dir: join(ROOT, 'dist'),
  format: 'esm',
  entryFileNames: '[name].js',
  chunkFileNames: 'chunks/[name].js',
  // Nest names a context, and BullMQ an error, by the class.
  keepNames: true,
  sourcemap: true,
});
