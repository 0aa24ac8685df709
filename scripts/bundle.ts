/**
 * Bundles the compiled programs with what they need from node_modules: `dist/api.js`, `dist/worker.js` and the commands.
 * To find, read and link their two and a half thousand modules one by one takes more than half of the time they need to start.
 */
import { existsSync } from 'node:fs';
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type Plugin, rolldown } from 'rolldown';

const ROOT = join(import.meta.dirname, '..');

/** What finds files of its own beside its code (protos, native code, the code of a thread): it stays in node_modules. */
const APART = [/^@grpc\//, /^grpc-health-check$/, /^@node-rs\/argon2$/, /^piscina$/, /^pino(-.*)?$/, /^msgpackr/];

/** Milliseconds. */
const DAY = 24 * 60 * 60 * 1_000;

const isLibrary = (id: string) => id.includes('node_modules');

/** Gives a program of the tests our libraries as tsc has compiled them, in which the decorators' types are: theirs import sources. */
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

/** Leads stack traces to our sources. What the libraries have is in chunks of its own, in which a trace names the chunk. */
const maps: Plugin = {
  name: 'maps',
  load: {
    filter: { id: /\.[cm]?js$/ },
    async handler(id) {
      const code = await readFile(id, 'utf8');
      if (isLibrary(id)) return { code, map: { mappings: '' } };
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
  await using graph = await rolldown({
    cwd: ROOT,
    input: { ...input },
    platform: 'node',
    tsconfig: join(ROOT, 'tsconfig.json'),
    external: APART,
    plugins: [compiled, maps],
    onLog(level, log, write) {
      const isForeign = log.id !== undefined && isLibrary(log.id);
      // What a library looks for, and does without, is not there when the app runs either.
      if (log.code === 'UNRESOLVED_IMPORT' && isForeign) return;
      write(level === 'warn' && !isForeign ? 'error' : level, log);
    },
  });
  const { output } = await graph.write({
    dir: folder,
    format: 'esm',
    entryFileNames: '[name].js',
    // By their content: a program that runs, and loads one later, never gets another build's.
    chunkFileNames: 'chunks/[name]-[hash].js',
    codeSplitting: { groups: [{ name: 'libraries', test: isLibrary, entriesAware: true }] },
    // Nest names a context, and BullMQ an error, by the class.
    keepNames: true,
    sourcemap: true,
  });
  await forget(join(folder, 'chunks'), new Set(output.map(({ fileName }) => basename(fileName))));
}

/** Deletes the chunks of former builds, which a program that was started a while ago may still load. */
async function forget(folder: string, kept: ReadonlySet<string>): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    if (!kept.has(name) && Date.now() - (await stat(path)).mtimeMs > DAY) await rm(path);
  }
}

if (process.argv[1] === import.meta.filename) {
  const apps = join(ROOT, 'dist/apps');
  const programs = {
    api: join(apps, 'api/src/main.js'),
    worker: join(apps, 'worker/src/main.js'),
    migrate: join(apps, 'worker/src/migrate.js'),
    tasks: join(apps, 'worker/src/tasks.js'),
    user: join(apps, 'worker/src/user.js'),
    // A thread's, which is looked for beside the chunk of what starts it, by this name: what it takes and returns stays the same.
    'chunks/password-thread': join(ROOT, 'dist/libs/account/src/password-thread.js'),
  };
  await bundle(programs, join(ROOT, 'dist'));
}
