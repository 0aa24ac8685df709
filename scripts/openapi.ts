/**
 * Makes the OpenAPI document of the contract, from its descriptors. `make proto` writes it; with `--check`, `make check`
 * refuses one that is not what the contract says now, or that breaks what the last release's promised.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { createFileRegistry, type DescMessage, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { getComments } from '@bufbuild/protoplugin';
import { complain, say } from './stack/output.ts';
import { ROOT } from './stack/settings.ts';

const FILE = 'libs/contract/src/openapi.json';
const RELEASED = 'libs/contract/released/openapi.json';
const SERVICES = ['account.v1.UserService', 'account.v1.SessionService'];
const DESCRIPTION = `Sign people up, and prove that an e-mail address is theirs.

Every operation is an RPC that is served on gRPC too; bodies are ProtoJSON. What the document does not say:

- Fields may be sent in either spelling, \`fullName\` or \`full_name\`, but not in both; answers have the former. Unknown fields are ignored.
- Numbers of 64 bits are texts, times are RFC 3339.
- Every error is a google.rpc.Status with an ErrorInfo, whose \`reason\` is for programs. 429 and 503 say after how long trying again makes sense.`;

/** The built one, whose sources are no scripts. */
const { openApiDocument } = (await import(pathToFileURL(join(ROOT, 'dist/libs/rpc/src/index.js')).href)) as {
  openApiDocument: (options: object) => object;
};

// With its comments, which the generated code does not have.
const image = execFileSync('buf', ['build', 'proto', '--as-file-descriptor-set', '-o', '-'], { cwd: ROOT, maxBuffer: 2 ** 26 });
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, image));
const document = openApiDocument({
  title: 'Waybill',
  version: 'v1',
  description: DESCRIPTION,
  license: { name: 'MIT', identifier: 'MIT' },
  services: SERVICES.map((name) => registry.getService(name)!),
  registry,
  comments: (desc: DescMessage) =>
    (getComments(desc).leading ?? '')
      .split('\n')
      .map((line) => line.trim())
      .join('\n')
      .trim(),
});

interface Operation {
  operationId: string;
  parameters: { name?: string; in?: string; required?: boolean }[];
  requestBody?: { required: boolean };
}

interface Document {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, { required?: string[] }> };
}

/** Whether requests hold the schema, as their body. */
function isAsked({ paths }: Document, schema: string): boolean {
  return Object.values(paths)
    .flatMap((operations) => Object.values(operations))
    .some(({ requestBody }) => JSON.stringify(requestBody ?? {}).includes(`"#/components/schemas/${schema}"`));
}

/** What a client of the last release would miss. Fields and their types are held by `buf breaking`; here is what HTTP adds. */
function breaks(before: Document, now: Document): string[] {
  const problems: string[] = [];
  for (const [path, operations] of Object.entries(before.paths)) {
    for (const [verb, old] of Object.entries(operations)) {
      const operation = now.paths[path]?.[verb];
      const name = `${verb.toUpperCase()} ${path}`;
      if (operation?.operationId !== old.operationId) {
        problems.push(`${name} was ${old.operationId}`);
        continue;
      }
      for (const parameter of operation.parameters.filter(({ required }) => required)) {
        const known = old.parameters.some((each) => each.name === parameter.name && each.in === parameter.in && each.required);
        if (!known) problems.push(`${name} demands the parameter ${parameter.name}`);
      }
      if (operation.requestBody && !old.requestBody) problems.push(`${name} demands a body`);
    }
  }
  for (const [name, schema] of Object.entries(before.components.schemas)) {
    // Of an answer, what is required is what a client may rely on.
    if (!isAsked(before, name)) continue;
    const required = now.components.schemas[name]?.required ?? [];
    const more = required.filter((field) => !schema.required?.includes(field));
    if (more.length > 0) problems.push(`${name} demands ${more.join(', ')}`);
  }
  return problems;
}

const text = `${JSON.stringify(document, undefined, 2)}\n`;
if (!process.argv.includes('--check')) {
  writeFileSync(join(ROOT, FILE), text);
  say(`${FILE} is written`);
} else {
  const read = (file: string) => readFileSync(join(ROOT, file), 'utf8');
  const problems = breaks(JSON.parse(read(RELEASED)) as Document, document as Document).map(
    (problem) => `breaks the last release: ${problem}`,
  );
  if (read(FILE) !== text) problems.unshift('is not what the contract says: run `make proto`');
  for (const problem of problems) complain(`${FILE} ${problem}`);
  process.exitCode = problems.length === 0 ? 0 : 1;
  if (problems.length === 0) say('the OpenAPI document says what the contract says, and what the last release said');
}
