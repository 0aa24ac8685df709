import { create, createFileRegistry, type DescMethodUnary, type Message as ProtoMessage, setExtension } from '@bufbuild/protobuf';
import {
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type as Type,
  FileDescriptorProtoSchema,
  MethodOptionsSchema,
} from '@bufbuild/protobuf/wkt';
import { Metadata } from '@grpc/grpc-js';
import { CanActivate, Controller, UseGuards } from '@nestjs/common';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CreateUserRequest, httpOption, UserService, type VerifyEmailRequest } from '@app/contract';
import { Message, Rpc, RpcError } from '@app/rpc';
import { Harness, type StatusJson } from './harness.js';

type Rule = NonNullable<Parameters<typeof setExtension<never>>[2]>;

const field = (name: string, number: number, type: Type, more: object = {}) => ({
  name,
  number,
  type,
  // As protoc fills it in.
  jsonName: name.replace(/_(\w)/g, (_, letter: string) => letter.toUpperCase()),
  label: FieldDescriptorProto_Label.OPTIONAL,
  ...more,
});

/** A service that nobody generated code for; each test binds its one method as it likes. `listOfOwners`: a field more, of that name. */
function searchMethod(rule: object | undefined, listOfOwners?: string): DescMethodUnary {
  const options = create(MethodOptionsSchema);
  if (rule) setExtension(options, httpOption, rule as Rule);
  const file = create(FileDescriptorProtoSchema, {
    name: 'test/v1/search.proto',
    package: 'test.v1',
    syntax: 'proto3',
    enumType: [
      {
        name: 'Order',
        value: [
          { name: 'ORDER_UNSPECIFIED', number: 0 },
          { name: 'ORDER_DOWN', number: 1 },
        ],
      },
    ],
    messageType: [
      { name: 'Owner', field: [field('user_id', 1, Type.STRING), field('is_admin', 2, Type.BOOL)] },
      {
        name: 'SearchRequest',
        field: [
          field('id', 1, Type.STRING),
          field('owner', 2, Type.MESSAGE, { typeName: '.test.v1.Owner' }),
          field('page_size', 3, Type.INT32),
          field('with_deleted', 4, Type.BOOL),
          field('tag', 5, Type.STRING, { label: FieldDescriptorProto_Label.REPEATED }),
          field('order', 6, Type.ENUM, { typeName: '.test.v1.Order' }),
          field('score', 7, Type.DOUBLE),
          field('count', 8, Type.INT64),
          ...(listOfOwners === undefined
            ? []
            : [field(listOfOwners, 9, Type.MESSAGE, { typeName: '.test.v1.Owner', label: FieldDescriptorProto_Label.REPEATED })]),
        ],
      },
      { name: 'SearchResponse', field: [field('seen', 1, Type.STRING)] },
    ],
    service: [
      {
        name: 'SearchService',
        method: [{ name: 'Search', inputType: '.test.v1.SearchRequest', outputType: '.test.v1.SearchResponse', options }],
      },
    ],
  });
  const service = createFileRegistry(file, () => undefined).getService('test.v1.SearchService');
  return service!.methods[0] as DescMethodUnary;
}

class Guard implements CanActivate {
  static closed = false;
  canActivate(): boolean {
    if (Guard.closed) throw RpcError.permissionDenied('not yours');
    return true;
  }
}

const method = searchMethod({
  pattern: { case: 'get', value: '/v1/things/{id}' },
  additionalBindings: [
    { pattern: { case: 'post', value: '/v1/things/{id}:search' }, body: '*' },
    { pattern: { case: 'put', value: '/v1/owners/{owner.user_id}/things:find' }, body: 'owner' },
    { pattern: { case: 'get', value: '/v1/things:all' } },
  ],
});

@Controller()
class SearchController {
  @UseGuards(Guard)
  @Rpc(method)
  search(@Message() request: ProtoMessage) {
    return {
      seen: JSON.stringify(request, (key, value: unknown) =>
        key === '$typeName' ? undefined : typeof value === 'bigint' ? `${value}n` : value,
      ),
    };
  }
}

const harness = new Harness();
beforeAll(() => harness.start([SearchController], [method.parent], { trustProxy: ['loopback'] }));
afterAll(() => harness.stop());

async function seen(path: string, init: RequestInit = {}): Promise<unknown> {
  const response = await harness.fetch(path, { headers: { 'content-type': 'application/json' }, ...init });
  const body = (await response.json()) as { seen?: string };
  return body.seen === undefined ? body : (JSON.parse(body.seen) as unknown);
}

const nothing = { id: '', pageSize: 0, withDeleted: false, tag: [], order: 0, score: 0, count: '0n' };

describe('a google.api.http rule', () => {
  it('binds the path, and every other field to the query, in both spellings', async () => {
    expect(
      await seen(
        '/v1/things/a%2Fb?page_size=5&withDeleted=true&tag=x&tag=y&order=ORDER_DOWN&score=1.5&count=9007199254740993&owner.userId=o&owner.is_admin=true&id=other&utm=z',
      ),
    ).toEqual({
      id: 'a/b',
      owner: { userId: 'o', isAdmin: true },
      pageSize: 5,
      withDeleted: true,
      tag: ['x', 'y'],
      order: 1,
      score: 1.5,
      count: '9007199254740993n',
    });
    expect(await seen('/v1/things/x?tag=one&order=1')).toEqual({ ...nothing, id: 'x', tag: ['one'], order: 1 });
  });

  it('binds a whole body, which the path wins over and the query does not touch', async () => {
    const body = JSON.stringify({ id: 'other', page_size: 2, withDeleted: true });
    expect(await seen('/v1/things/7:search?pageSize=9&score=1', { method: 'POST', body })).toEqual({
      ...nothing,
      id: '7',
      pageSize: 2,
      withDeleted: true,
    });
  });

  it('binds a body to one field, beside a path into it', async () => {
    const body = JSON.stringify({ userId: 'other', isAdmin: true });
    expect(await seen('/v1/owners/me/things:find?pageSize=3&owner.isAdmin=false', { method: 'PUT', body })).toEqual({
      ...nothing,
      owner: { userId: 'me', isAdmin: true },
      pageSize: 3,
    });
  });

  it('takes a colon in its path for a colon', async () => {
    expect(await seen('/v1/things:all')).toEqual(nothing);
    expect((await harness.fetch('/v1/thingsXall')).status).toBe(404);
  });

  it('names every parameter that has the wrong type', async () => {
    const error = (await seen('/v1/things/x?pageSize=many&withDeleted=maybe&id=a&score=&pageSize=1')) as StatusJson;
    expect(error.code).toBe(3);
    expect(error.details[0]?.fieldViolations.map((violation) => violation.field).sort()).toEqual(['pageSize', 'score', 'withDeleted']);
    const proto = await seen('/v1/things/x?__proto__=1&owner.__proto__.x=1&constructor.prototype=1');
    expect(proto).toEqual({ ...nothing, id: 'x' });
  });

  it('guards every binding', async () => {
    Guard.closed = true;
    try {
      for (const [path, init] of [
        ['/v1/things/x', {}],
        ['/v1/things/7:search', { method: 'POST', body: '{}' }],
        ['/v1/things:all', {}],
      ] as const) {
        expect(await seen(path, init)).toMatchObject({ code: 7, message: 'not yours' });
      }
    } finally {
      Guard.closed = false;
    }
  });

  it('says which methods a path answers to', async () => {
    const response = await harness.fetch('/v1/things/x', { method: 'DELETE' });
    expect([response.status, response.headers.get('allow')]).toEqual([405, 'GET, HEAD']);
  });

  it('logs the method, whichever binding was called', async () => {
    await harness.fetch('/v1/things:all?id=canary', { headers: { 'x-request-id': 'bound' } });
    expect((await harness.log.call('bound')).fields['rpc']).toBe('test.v1.SearchService/Search');
  });
});

describe('behind a trusted proxy', () => {
  it('the client is whom the proxy calls for, on both transports', async () => {
    const headers = { 'x-request-id': 'proxy-1', 'x-forwarded-for': '192.0.2.66, 192.0.2.1' };
    await harness.fetch('/v1/things:all', { headers });
    expect((await harness.log.call('proxy-1')).fields['client']).toBe('192.0.2.1');
    const metadata = Metadata.fromHttp2Headers({ ...headers, 'x-request-id': 'proxy-2' });
    await harness.grpcRaw('/test.v1.SearchService/Search', Buffer.alloc(0), metadata);
    expect((await harness.log.call('proxy-2')).fields['client']).toBe('192.0.2.1');
  });
});

describe('@Rpc()', () => {
  it.each([
    ['no rule', undefined, 'no google.api.http rule'],
    ['a body with GET', { pattern: { case: 'get', value: '/v1/x' }, body: '*' }, 'has a body, which a GET request does not carry'],
    ['a body with DELETE', { pattern: { case: 'delete', value: '/v1/x' }, body: 'owner' }, 'has a body, which a DELETE request'],
    [
      'a body with GET in an additional binding',
      {
        pattern: { case: 'post', value: '/v1/x' },
        body: '*',
        additionalBindings: [{ pattern: { case: 'get', value: '/v1/y' }, body: '*' }],
      },
      'has a body, which a GET request does not carry',
    ],
    [
      'bindings inside of additional ones',
      {
        pattern: { case: 'get', value: '/v1/x' },
        additionalBindings: [
          { pattern: { case: 'get', value: '/v1/y' }, additionalBindings: [{ pattern: { case: 'get', value: '/v1/z' } }] },
        ],
      },
      'has additional_bindings inside of additional_bindings',
    ],
    ['a parameter twice', { pattern: { case: 'get', value: '/v1/{id}/{id=*}' } }, 'has the parameter {id} twice'],
    [
      'a parameter that is the body too',
      { pattern: { case: 'put', value: '/v1/{id}' }, body: 'id' },
      'binds "id" both to the path and to the body',
    ],
    ['a forgotten body', { pattern: { case: 'post', value: '/v1/x' } }, 'leaves the field "owners" to the query', 'owners'],
    ['a path without a slash', { pattern: { case: 'get', value: 'v1/x' } }, 'must start with "/"'],
    ['a path with a query', { pattern: { case: 'get', value: '/v1/x?y={id}' } }, 'must start with "/" and have no "?"'],
    ['a wildcard', { pattern: { case: 'get', value: '/v1/*/x' } }, 'only {field} stands for a segment'],
    ['a brace too many', { pattern: { case: 'get', value: '/v1/{id' } }, 'only {field} stands for a segment'],
    ['a parameter that is no field', { pattern: { case: 'get', value: '/v1/{nothing}' } }, 'must name a scalar field'],
    ['a parameter that is a message', { pattern: { case: 'get', value: '/v1/{owner}' } }, 'must name a scalar field'],
    ['a template', { pattern: { case: 'get', value: '/v1/{id=things/*}' } }, 'not supported'],
    ['a body that is no field', { pattern: { case: 'post', value: '/v1/x' }, body: 'nothing' }, 'which is no field'],
    ['a custom verb', { pattern: { case: 'custom', value: { kind: 'PURGE', path: '/' } } }, 'must be one of'],
  ])('refuses %s', (_name, rule, message, list?: string) => {
    const method = searchMethod(rule, list);
    expect(() => Rpc(method)).toThrow(message);
    expect(() => Rpc(method)).toThrow('test.v1.SearchService/Search');
  });

  it('does not compile with what does not fit the method', () => {
    class Wrong {
      // @ts-expect-error the response has no such field
      @Rpc(UserService.method.createUser)
      response(@Message() _request: CreateUserRequest) {
        return { usr: {} };
      }
      // @ts-expect-error the field has another type
      @Rpc(UserService.method.createUser)
      async field(@Message() _request: CreateUserRequest) {
        return Promise.resolve({ user: { username: 5 } });
      }
      // @ts-expect-error the request is another one's
      @Rpc(UserService.method.createUser)
      request(@Message() _request: VerifyEmailRequest) {
        return {};
      }
    }
    expect(Wrong).toBeDefined();
  });
});
