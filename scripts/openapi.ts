/**
 * Makes the OpenAPI document of the contract, from its descriptors. `make proto` writes it; with `--check`, `make check`
 * refuses one that is not what the contract says now.
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
const SERVICES = ['account.v1.UserService'];
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
const text = `${JSON.stringify(document, undefined, 2)}\n`;
if (!process.argv.includes('--check')) {
  writeFileSync(join(ROOT, FILE), text);
  say(`${FILE} is written`);
} else if (readFileSync(join(ROOT, FILE), 'utf8') === text) {
  say('the OpenAPI document says what the contract says');
} else {
  complain(`${FILE} is not what the contract says: run \`make proto\``);
  process.exitCode = 1;
}
