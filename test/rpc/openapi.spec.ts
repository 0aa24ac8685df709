import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createFileRegistry, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { getComments } from '@bufbuild/protoplugin';
import { Validator } from '@seriousme/openapi-schema-validator';
import { openApi } from '@app/contract';
import { openApiDocument } from '@app/rpc';
import { afterEach, describe, expect, it } from 'vitest';

// eslint-disable-next-line typescript/no-explicit-any -- a document is read here by its paths
type Json = Record<string, any>;

const folders: string[] = [];
afterEach(() => folders.splice(0).forEach((folder) => rmSync(folder, { recursive: true })));

const PROTO = readFileSync('test/rpc/everything/everything.proto', 'utf8');

/** The document of the proto with everything in it, as it is or changed. */
function documentOf(proto = PROTO): Json {
  const folder = mkdtempSync(join(tmpdir(), 'waybill-openapi-'));
  folders.push(folder);
  cpSync('test/rpc/everything', join(folder, 'proto'), { recursive: true });
  writeFileSync(join(folder, 'proto/everything.proto'), proto);
  symlinkSync(resolve('node_modules'), join(folder, 'node_modules'));
  writeFileSync(
    join(folder, 'buf.yaml'),
    'version: v2\nmodules:\n  - path: proto\n  - path: node_modules/protobufjs\n    includes: [node_modules/protobufjs/google/api]\n',
  );
  const image = execFileSync('buf', ['build', 'proto', '--as-file-descriptor-set', '-o', '-'], { cwd: folder });
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, image));
  return openApiDocument({
    title: 'Everything',
    version: 'v1',
    description: 'For the test.',
    license: { name: 'MIT', identifier: 'MIT' },
    services: [registry.getService('test.everything.v1.EverythingService')!],
    registry,
    comments: (desc) => (getComments(desc).leading ?? '').replace(/^ /gm, '').trim(),
  });
}

const problemsOf = async (document: object) => (await new Validator().validate(structuredClone(document) as Json)).errors;

describe('the OpenAPI document of a contract', () => {
  it('is valid, this api’s and one with everything in it', async () => {
    expect(await problemsOf(openApi)).toBeUndefined();
    expect(await problemsOf(documentOf())).toBeUndefined();
    expect(await problemsOf({ ...openApi, paths: [] })).toBeDefined();
  });

  it('has paths, parameters and bodies as google.api.http binds them', () => {
    const { paths } = documentOf();
    expect(Object.keys(paths)).toEqual(['/v1/boxes/{box.id}/things/{name}', '/v1/things/{name}:put', '/v1/things', '/v1/things/{name}']);
    const { put } = paths['/v1/boxes/{box.id}/things/{name}'];
    expect(put).toMatchObject({
      operationId: 'EverythingService_PutThing',
      summary: 'Puts a thing',
      description: 'Puts a thing. And says more of it.\n\nOn gRPC: `test.everything.v1.EverythingService/PutThing`.',
    });
    const nameOf = ({ name, in: place, required }: Json) => [place, name, required];
    expect(put.parameters.slice(0, -1).map(nameOf)).toEqual([
      ['path', 'box.id', true],
      ['path', 'name', true],
    ]);
    expect(put.parameters[0].schema).toEqual({ type: 'string', format: 'uuid' });
    expect(put.requestBody.content['application/json'].schema).toEqual({ $ref: '#/components/schemas/test.everything.v1.Thing' });
    const { post } = paths['/v1/things/{name}:put'];
    expect(post.operationId).toBe('EverythingService_PutThing_2');
    expect(Object.keys(post.requestBody.content['application/json'].schema.properties)).toEqual(['box', 'thing']);
    expect(paths['/v1/things'].get.parameters.slice(0, -1).map(({ name }: Json) => name)).toEqual([
      'filter',
      'tag',
      'box.id',
      'color',
      'isRed',
    ]);
    expect(paths['/v1/things'].get.requestBody).toBeUndefined();
    expect(paths['/v1/things/{name}'].delete.deprecated).toBe(true);
  });

  it('has ProtoJSON types, and the rules that a schema can say; the others in words', () => {
    const { schemas } = documentOf().components;
    const thing = schemas['test.everything.v1.Thing'];
    expect(thing).toEqual({
      type: 'object',
      description: 'A thing, in which things are.',
      required: ['madeAt', 'tags'],
      allOf: [{ not: { required: ['shelf', 'box'] } }],
      properties: {
        name: {
          type: 'string',
          pattern: '^[a-z]+$',
          allOf: [{ pattern: '^a' }],
          enum: ['a', 'ab'],
          description: 'What it is called.',
        },
        parts: { type: 'array', items: { $ref: '#/components/schemas/test.everything.v1.Thing' } },
        byName: { type: 'object', additionalProperties: { $ref: '#/components/schemas/test.everything.v1.Thing' }, maxProperties: 9 },
        byNumber: { type: 'object', additionalProperties: { type: 'string' } },
        color: { type: 'string', enum: ['COLOR_UNSPECIFIED', 'COLOR_RED'] },
        picture: { type: 'string', contentEncoding: 'base64', description: 'Rule: at most 1000 bytes.' },
        size: { type: 'string', format: 'int64', pattern: '^-?[0-9]{1,19}$', description: 'Rule: gte 1.' },
        count: { type: 'integer', format: 'int32', minimum: 1, maximum: 2147483647, exclusiveMaximum: 10, enum: [2, 3] },
        weight: {
          anyOf: [{ type: 'number' }, { type: 'string', enum: ['NaN', 'Infinity', '-Infinity'] }],
          exclusiveMinimum: 0,
          maximum: 2.5,
        },
        note: { type: 'string', minLength: 1 },
        shelf: { type: 'string' },
        box: { $ref: '#/components/schemas/test.everything.v1.Box' },
        madeAt: { type: 'string', format: 'date-time' },
        age: { type: 'string', pattern: String.raw`^-?[0-9]+(\.[0-9]{1,9})?s$` },
        nickname: { anyOf: [{ type: 'string' }, { type: 'null' }] },
        more: { type: 'object' },
        tags: { type: 'array', items: { type: 'string', maxLength: 20 }, minItems: 1, maxItems: 5, uniqueItems: true },
        code: {
          anyOf: [{ type: 'string', minLength: 4, pattern: '^[0-9]*$' }, { const: '' }],
          description: 'Rule: must be even.',
        },
        serial: { type: 'string', format: 'uint64', pattern: '^[0-9]{1,20}$', deprecated: true },
      },
    });
    // Only ever answered with: fields without presence are always there.
    expect(schemas['test.everything.v1.ListThingsResponse'].required).toEqual(['things', 'total']);
  });

  it('has the errors that a comment names, and those of every RPC, with examples', () => {
    const { responses } = documentOf().paths['/v1/boxes/{box.id}/things/{name}'].put;
    expect(Object.keys(responses)).toEqual(['200', '400', '404', '413', '415', '500', '503', 'default']);
    expect(responses['404'].description).toBe('NOT_FOUND when there is none.');
    expect(responses['400'].description).toContain('FAILED_PRECONDITION for one that is sealed.');
    expect(responses['503'].headers).toHaveProperty('retry-after');
    expect(responses['404'].content['application/json'].examples['NOT_FOUND'].value).toMatchObject({ code: 5 });
  });

  it.each<[string, (proto: string) => string, RegExp]>([
    [
      'a rule that has no word in OpenAPI here',
      (proto) =>
        proto.replace('made_at = 13 [(buf.validate.field).required = true]', 'made_at = 13 [(buf.validate.field).timestamp.lt_now = true]'),
      /PutThing has the field test\.everything\.v1\.Thing\.made_at, which has the rule "timestamp\.lt_now"/,
    ],
    [
      'an error that has no canonical code',
      (proto) => proto.replace('NOT_FOUND when', 'MISSING when'),
      /PutThing names "MISSING when there is none" among its errors/,
    ],
    [
      'an RPC that streams',
      (proto) => proto.replace('returns (ListThingsResponse)', 'returns (stream ListThingsResponse)'),
      /ListThings streams/,
    ],
    [
      'two RPCs on one path',
      (proto) => proto.replace('get: "/v1/things"', 'delete: "/v1/things/{filter}"'),
      /DeleteThing is bound to DELETE \/v1\/things\/\{name\}, as another RPC is/,
    ],
    ['a oneof’s message in a path', (proto) => proto.replace('{box.id}', '{thing.box}'), /must name a scalar field/],
    [
      'a message in the query that holds itself',
      (proto) => proto.replace('Box box = 3;\n  Color', 'Node box = 3;\n  Color').concat('\nmessage Node {\n  Node next = 1;\n}\n'),
      /leaves box\.next to the query, which holds itself/,
    ],
  ])('is refused, with the RPC’s name, for %s', (_name, change, message) => {
    expect(() => documentOf(change(PROTO))).toThrow(message);
  });
});
