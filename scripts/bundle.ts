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

/** Takes our libraries as tsc has compiled them: decorators want the types of what they stand on, which only tsc knows. */
const compiled: Plugin = {
  name: 'compiled',
  resolveId: {
    filter: { id: /^@app\/|\/libs\/.+\.ts$/ },
    async handler(name, importer) {
      const source = await this.resolve(name, importer, { skipSelf: true });
      return source?.id.replace(join(ROOT, 'libs'), join(ROOT, 'dist/libs')).replace(/\.ts$/, '.js');
    },
  },
};

/** Leads stack traces to our sources. The libraries' own maps are left out: they would be most of what a trace has to read. */
const maps: Plugin = {
  name: 'maps',
  load: {
    filter: { id: /\.[cm]?js$/ },
    async handler(id) {
      const code = await readFile(id, 'utf8');
      if (id.includes('node_modules')) return { code, map: { mappings: '' } };
      const map = `${id}.map`;
      return { code, map: existsSync(map) ? await readFile(map, 'utf8') : null };
    },
  },
};

/**
 * Bundles programs, and what they share, into a folder of this repository.
 *
 * @param input where each begins, by its name there.
 */
export async function bundle(input: Readonly<Record<string, string>>, folder: string): Promise<void> {
  const graph = await rolldown({
    cwd: ROOT,
    input: { ...input },
    platform: 'node',
    tsconfig: join(ROOT, 'tsconfig.json'),
    external: APART,
    plugins: [compiled, maps],
    onLog(level, log, write) {
      const isForeign = log.id?.includes('node_modules') === true;
      // What a library looks for, and does without, is not there when the app runs either.
      if (log.code === 'UNRESOLVED_IMPORT' && isForeign) return;
      write(level === 'warn' && !isForeign ? 'error' : level, log);
    },
  });
  rmSync(join(folder, 'chunks'), { recursive: true, force: true });
  await graph.write({
    dir: folder,
    format: 'esm',
    entryFileNames: '[name].js',
    chunkFileNames: 'chunks/[name].js',
    // Nest names a context, and BullMQ an error, by the class.
    keepNames: true,
    sourcemap: true,
  });
  await graph.close();
}

if (import.meta.main) {
  const apps = join(ROOT, 'dist/apps');
  const programs = {
    api: join(apps, 'api/src/main.js'),
    worker: join(apps, 'worker/src/main.js'),
    migrate: join(apps, 'worker/src/migrate.js'),
    tasks: join(apps, 'worker/src/tasks.js'),
    user: join(apps, 'worker/src/user.js'),
  };
  await bundle(programs, join(ROOT, 'dist'));
}
