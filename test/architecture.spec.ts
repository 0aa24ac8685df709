import 'reflect-metadata';
import { globSync, readFileSync } from 'node:fs';
import { join, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { DescService } from '@bufbuild/protobuf';
import { Logger, type Type } from '@nestjs/common';
import * as contract from '@app/contract';
import { Config } from '@app/config';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { ApiModule } from '../apps/api/src/api.module.js';
import { SourceLimits } from '../apps/api/src/source-limits.js';
import { WorkerModule } from '../apps/worker/src/worker.module.js';
import { assertRpcHandlers } from '../libs/rpc/src/rpc-handlers.js';
import { findPolicy } from '../libs/tasks/src/declare/task.js';

// Two apps' modules in one process make Nest warn of their data sources, none of which is ever opened here.
Logger.overrideLogger(false);

const ROOT = join(import.meta.dirname, '..');

/** The hand-written sources, by their paths; specs may import what they like. */
const sources = new Map(
  globSync(['apps/*/src/**/*.ts', 'libs/*/src/**/*.ts'], { cwd: ROOT })
    .map((path) => path.replaceAll(sep, '/'))
    .filter((path) => !path.endsWith('.spec.ts') && !path.includes('/gen/'))
    .map((path) => [path, readFileSync(join(ROOT, path), 'utf8')] as const),
);

/** Every module that a file imports, re-exports, or imports at run time. */
function importsOf(text: string): string[] {
  return ts.preProcessFile(text, true, true).importedFiles.map(({ fileName }) => fileName);
}

/** The linter's overrides are the one list of ranks: what they leave out is a feature. */
const lint = JSON.parse(readFileSync(join(ROOT, '.oxlintrc.json'), 'utf8')) as { overrides: { files: string[] }[] };
const ranked = (member: string): string[] => {
  const folders = lint.overrides.map(({ files }) => files.flatMap((file) => /^libs\/([\w-]+)\/src\/\*\*\/\*\.ts$/.exec(file)?.[1] ?? []));
  return folders.find((names) => names.includes(member)) ?? [];
};
const GROUND = ranked('config');
// The contract is for the apps and the rpc library alone, which has an override of its own for that.
const BELOW_CONTRACT = GROUND.filter((name) => name !== 'contract');
// The task engine has an override of its own, too: it knows no configuration.
const ENGINES = [...ranked('mail'), 'tasks', 'rpc'];

const folderOf = (path: string) => path.split('/').slice(0, 2).join('/');
const folders = [...new Set([...sources.keys()].map(folderOf))];
const FEATURES = folders
  .filter((folder) => folder.startsWith('libs/'))
  .map((folder) => folder.slice('libs/'.length))
  .filter((name) => !GROUND.includes(name) && !ENGINES.includes(name));

/** The rank of a folder of apps/ or libs/, and which libraries it may import. */
function rankOf(folder: string): { rank: string; below: readonly string[] } {
  const [kind, name] = folder.split('/') as [string, string];
  if (kind === 'apps') return { rank: 'COMPOSITION', below: [...FEATURES, ...ENGINES, ...GROUND] };
  if (GROUND.includes(name)) return { rank: 'GROUND', below: [] };
  if (ENGINES.includes(name)) return { rank: 'ENGINE', below: name === 'rpc' ? GROUND : BELOW_CONTRACT };
  return { rank: 'FEATURE', below: [...ENGINES, ...BELOW_CONTRACT] };
}

describe('the arrows', () => {
  it('are drawn by the ranks of .oxlintrc.json, which are those that ARCHITECTURE.md tells', () => {
    const tree = readFileSync(join(ROOT, 'ARCHITECTURE.md'), 'utf8').split('```')[1]!;
    const told = new Map<string, string>();
    let kind = '';
    for (const line of tree.split('\n')) {
      kind = /^(\w+)\/$/.exec(line)?.[1] ?? kind;
      const [, name, rank] = /^  ([\w-]+)\/src\/ .* ([A-Z]+)$/.exec(line) ?? [];
      if (name && rank) told.set(`${kind}/${name}`, rank);
    }
    expect([...told.values()]).toEqual(expect.arrayContaining(['COMPOSITION', 'FEATURE', 'ENGINE', 'GROUND']));
    for (const [folder, rank] of told) expect(`${folder} is ${rankOf(folder).rank}`).toBe(`${folder} is ${rank}`);
  });

  it('only go down, and reach a library by its name', () => {
    const wrong: string[] = [];
    for (const [path, text] of sources) {
      const folder = folderOf(path);
      for (const imported of importsOf(text)) {
        const [, library, inside] = /^@app\/([^/]+)(\/.*)?$/.exec(imported) ?? [];
        if (library !== undefined) {
          const { rank, below } = rankOf(folder);
          if (inside !== undefined || !below.includes(library)) {
            wrong.push(
              `${path} imports ${imported}, and is a ${rank} (as .oxlintrc.json ranks it; a library that it does not name is a FEATURE)`,
            );
          }
        } else if (imported.startsWith('.')) {
          const target = join(path, '..', imported).replaceAll(sep, '/');
          if (!target.startsWith(`${folder}/src/`)) wrong.push(`${path} reaches into ${target}`);
        }
      }
    }
    expect(wrong).toEqual([]);
  });

  it('are seen where there are some: the parser finds what is known to be there', () => {
    expect(importsOf(sources.get('apps/worker/src/worker.module.ts')!)).toContain('@app/tasks');
    expect(importsOf(`export { a } from '@app/a'; const b = await import('@app/b'); import type { C } from "@app/c";`)).toEqual([
      '@app/a',
      '@app/b',
      '@app/c',
    ]);
  });
});

describe('the environment', () => {
  it('is read in libs/config and nowhere else', () => {
    const readers = [...sources].filter(([path, text]) => folderOf(path) !== 'libs/config' && readsEnvironment(text)).map(([path]) => path);
    expect(readers).toEqual([]);
    expect(readsEnvironment(sources.get('libs/config/src/config.ts')!)).toBe(true);
  });

  /** In code, that is: a comment may speak of it. */
  function readsEnvironment(text: string): boolean {
    const file = ts.createSourceFile('source.ts', text, ts.ScriptTarget.Latest);
    const visit = (node: ts.Node): boolean => {
      if (ts.isPropertyAccessExpression(node) && node.name.text === 'env' && isProcess(node.expression)) return true;
      if (ts.isElementAccessExpression(node) && isProcess(node.expression)) return true;
      if (ts.isImportDeclaration(node) && /^(node:)?process$/.test((node.moduleSpecifier as ts.StringLiteral).text)) return true;
      return ts.forEachChild(node, (child) => visit(child) || undefined) ?? false;
    };
    return visit(file);
  }

  function isProcess(node: ts.Expression): boolean {
    return ts.isIdentifier(node) && node.text === 'process';
  }
});

describe('every task', () => {
  const files = [...sources.keys()].filter((path) => path.endsWith('.task.ts'));
  const provided = new Set<unknown>(WorkerModule.forRoot(Config.parse({})).providers);

  it.each(files)('%s is one class, which the worker provides and the feature exports', async (path) => {
    const module = (await import(pathToFileURL(join(ROOT, path)).href)) as Record<string, unknown>;
    const tasks = Object.values(module).filter((value): value is Type => typeof value === 'function' && findPolicy(value) !== undefined);
    expect(tasks).toHaveLength(1);
    expect([...provided].map((provider) => (provider as Type).name)).toContain(tasks[0]!.name);
  });

  it('is in a file of that name', () => {
    expect(files.length).toBeGreaterThan(0);
    const strays = [...sources].filter(([path, text]) => /^@Task\(/m.test(text) && !path.endsWith('.task.ts')).map(([path]) => path);
    expect(strays).toEqual([]);
    expect(provided.size).toBe(files.length);
  });

  it('has a type that no other has', async () => {
    const types = [...provided].map((provider) => findPolicy(provider as Type)?.type);
    expect(types).not.toContain(undefined);
    expect(new Set(types).size).toBe(types.length);
  });
});

describe('every RPC', () => {
  const services = Object.values(contract).filter(
    (value): value is typeof value & DescService => typeof value === 'object' && 'kind' in value && value.kind === 'service',
  );

  it('of a service is to be looked for: there is one', () => {
    expect(services.map(({ typeName }) => typeName)).toContain('account.v1.UserService');
  });

  it('of the contract is answered by one handler of the api', () => {
    const config = Config.parse({});
    const { controllers } = ApiModule.forRoot(config, new SourceLimits(config));
    expect(() => assertRpcHandlers(controllers as Type[], services)).not.toThrow();
  });
});
