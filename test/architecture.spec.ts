import 'reflect-metadata';
import { globSync, readFileSync } from 'node:fs';
import { join, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { DescMethod, DescService } from '@bufbuild/protobuf';
import { Logger, RequestMethod, type Type } from '@nestjs/common';
import { METHOD_METADATA, PATH_METADATA } from '@nestjs/common/constants.js';
import * as contract from '@app/contract';
import { Config } from '@app/config';
import { getOption } from '@bufbuild/protobuf';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import { ApiModule } from '../apps/api/src/api.module.js';
import { WorkerModule } from '../apps/worker/src/worker.module.js';
import { findPolicy } from '../libs/tasks/src/task.js';

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

/** Which libraries each folder may import, from the top to the ground. Whatever is not listed here is missing an arrow. */
const GROUND = ['config', 'contract', 'faults', 'postgres', 'redaction', 'shutdown'];
const ENGINES = ['tasks', 'rpc', 'mail', 'database', 'logging'];
const FEATURES = ['account'];
const BELOW_CONTRACT = GROUND.filter((name) => name !== 'contract');
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  ...Object.fromEntries(['apps/api', 'apps/worker'].map((app) => [app, [...FEATURES, ...ENGINES, ...GROUND]])),
  ...Object.fromEntries(FEATURES.map((feature) => [`libs/${feature}`, [...ENGINES, ...BELOW_CONTRACT]])),
  ...Object.fromEntries(ENGINES.map((engine) => [`libs/${engine}`, BELOW_CONTRACT])),
  // The contract is for the apps and the rpc library alone.
  'libs/rpc': GROUND,
  ...Object.fromEntries(GROUND.map((ground) => [`libs/${ground}`, []])),
};

const folderOf = (path: string) => path.split('/').slice(0, 2).join('/');

describe('the arrows', () => {
  it('are drawn for every app and library that there is', () => {
    expect([...new Set([...sources.keys()].map(folderOf))].sort()).toEqual(Object.keys(ARROWS).sort());
  });

  it('only go down, and reach a library by its name', () => {
    const wrong: string[] = [];
    for (const [path, text] of sources) {
      const folder = folderOf(path);
      for (const imported of importsOf(text)) {
        const [, library, inside] = /^@app\/([^/]+)(\/.*)?$/.exec(imported) ?? [];
        if (library !== undefined) {
          if (inside !== undefined || !ARROWS[folder]?.includes(library)) wrong.push(`${path} imports ${imported}`);
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
  const controllers = ApiModule.forRoot(Config.parse({})).controllers as Type[];
  const handlers = controllers.flatMap(({ prototype }: { prototype: Record<string, unknown> }) =>
    Object.getOwnPropertyNames(prototype).map((name) => prototype[name] as object),
  );

  /** The gRPC methods that a handler answers, as Nest's decorators have noted them. */
  const grpcOf = (handler: object) =>
    ((Reflect.getMetadata('microservices:pattern', handler) as { service: string; rpc: string }[] | undefined) ?? []).map(
      ({ service, rpc }) => `${service}/${rpc}`,
    );
  const httpOf = (handler: object) => {
    const path = Reflect.getMetadata(PATH_METADATA, handler) as string | undefined;
    return path === undefined ? undefined : `${RequestMethod[Reflect.getMetadata(METHOD_METADATA, handler) as number]} ${path}`;
  };
  const routeOf = (method: DescMethod) => {
    const { pattern } = getOption(method, contract.httpOption);
    return `${pattern.case?.toUpperCase()} ${String(pattern.value)}`;
  };

  it('of a service is to be looked for: there is one', () => {
    expect(services.map(({ typeName }) => typeName)).toContain('account.v1.UserService');
  });

  it.each(services.flatMap(({ methods }) => methods.map((method) => [method.toString(), method] as const)))(
    '%s is answered by one handler, on both transports',
    (_, method) => {
      const answering = handlers.filter((handler) => grpcOf(handler).includes(`${method.parent.typeName}/${method.name}`));
      expect(answering).toHaveLength(1);
      expect(httpOf(answering[0]!)).toBe(routeOf(method));
    },
  );
});
