import {
  create,
  createFileRegistry,
  type DescMethodUnary,
  type DescService,
  type Message as ProtoMessage,
  setExtension,
} from '@bufbuild/protobuf';
import {
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FileDescriptorProtoSchema,
  MethodOptionsSchema,
} from '@bufbuild/protobuf/wkt';
import { Controller, Get, Module, type Type } from '@nestjs/common';
import { describe, expect, it } from 'vitest';
import { httpOption } from '@app/contract';
import { BasePathTaken, createRpcApp, Message, Readiness, Rpc } from '@app/rpc';

type Rule = NonNullable<Parameters<typeof setExtension<never>>[2]>;

/** A service of that name whose methods are bound to those paths, all with GET. */
function serviceOf(
  name: string,
  paths: Readonly<Record<string, string | readonly string[]>>,
  streaming: readonly string[] = [],
): DescService {
  const method = (rpc: string, all: readonly string[]) => {
    const options = create(MethodOptionsSchema);
    const [rule, ...additionalBindings] = all.map((value) => ({ pattern: { case: 'get', value } }));
    setExtension(options, httpOption, { ...rule, additionalBindings } as Rule);
    return { name: rpc, inputType: '.test.v1.Thing', outputType: '.test.v1.Thing', options, serverStreaming: streaming.includes(rpc) };
  };
  const file = create(FileDescriptorProtoSchema, {
    name: `test/v1/${name}.proto`,
    package: 'test.v1',
    syntax: 'proto3',
    messageType: [
      {
        name: 'Thing',
        field: ['id', 'key'].map((field, index) => ({
          name: field,
          jsonName: field,
          number: index + 1,
          type: FieldDescriptorProto_Type.STRING,
          label: FieldDescriptorProto_Label.OPTIONAL,
        })),
      },
    ],
    service: [{ name, method: Object.entries(paths).map(([rpc, all]) => method(rpc, [all].flat())) }],
  });
  return createFileRegistry(file, () => undefined).getService(`test.v1.${name}`)!;
}

const service = serviceOf('Things', {
  Get: '/v1/things/{id}',
  Find: ['/v1/things/{id=*}:find', '/v1/found/{key}'],
});
const unary = (from: DescService, name: string) => from.method[name] as DescMethodUnary;

@Controller()
class ThingsController {
  @Rpc(unary(service, 'get'))
  get(@Message() request: ProtoMessage) {
    return request;
  }
  @Rpc(unary(service, 'find'))
  find(@Message() request: ProtoMessage) {
    return request;
  }
}

/** Another handler for an RPC, below that path of its class. */
function controllerFor(method: DescMethodUnary, path?: string): Type {
  @Controller(path ?? '/')
  class Other {
    @Rpc(method)
    answer(@Message() request: ProtoMessage) {
      return request;
    }
  }
  return Other;
}

/** What an app of those controllers says at its start; it never listens. */
async function mistakesOf(controllers: Type[], services: readonly DescService[]): Promise<string[]> {
  @Module({ controllers, providers: [{ provide: Readiness, useValue: { isReady: () => Promise.resolve(true) } }] })
  class App {}
  const config = { HOST: '127.0.0.1', HTTP_PORT: 0, GRPC_PORT: 0, isProduction: false };
  try {
    const { nest } = await createRpcApp(App, { config, services, logger: false });
    await nest.close();
    return [];
  } catch (error) {
    return (error as Error).message.split('\n');
  }
}

describe('an app starts', () => {
  it('with a handler for each RPC, also where paths have parameters, verbs and other bindings', async () => {
    expect(await mistakesOf([ThingsController], [service])).toEqual([]);
  });
});

describe('an app refuses to start', () => {
  it('with RPCs without a handler, and names them all', async () => {
    expect(await mistakesOf([], [service])).toEqual([
      "test.v1.Things/Get has no handler: give a method of a controller that the app's module lists @Rpc(Things.method.get)",
      "test.v1.Things/Find has no handler: give a method of a controller that the app's module lists @Rpc(Things.method.find)",
    ]);
  });

  it('with two handlers for one RPC', async () => {
    expect(await mistakesOf([ThingsController, controllerFor(unary(service, 'get'))], [service])).toEqual([
      'test.v1.Things/Get has more than one handler: ThingsController.get, Other.answer',
    ]);
  });

  it('with a handler for a service that it does not serve', async () => {
    const other = serviceOf('Others', { Get: '/v1/others' });
    expect(await mistakesOf([ThingsController, controllerFor(unary(other, 'get'))], [service])).toEqual([
      'Other.answer answers test.v1.Others/Get, but test.v1.Others is not among the services of the app',
    ]);
  });

  it('with two RPCs on one path, whatever their parameters are called', async () => {
    const other = serviceOf('Others', { Get: ['/v1/others/{key}', '/v1/things/{key}', '/v1/things/{key}:find', '/v1/others/{id}'] });
    expect(await mistakesOf([ThingsController, controllerFor(unary(other, 'get'))], [service, other])).toEqual([
      'test.v1.Others/Get and test.v1.Things/Get are both bound to GET /v1/things/{}',
      'test.v1.Others/Get and test.v1.Things/Find are both bound to GET /v1/things/{}:find',
      'test.v1.Others/Get and test.v1.Others/Get are both bound to GET /v1/others/{}',
    ]);
  });

  it('with a controller that would move the paths of its RPCs', async () => {
    const other = serviceOf('Others', { Get: '/v1/others' });
    expect(await mistakesOf([controllerFor(unary(other, 'get'), 'api')], [other])).toEqual([
      'Other.answer answers test.v1.Others/Get, whose path is in the proto: give @Controller() none',
    ]);
  });

  it('with an RPC that streams', async () => {
    expect(await mistakesOf([], [serviceOf('Others', { Watch: '/v1/others' }, ['Watch'])])).toEqual([
      'test.v1.Others/Watch streams, and only unary RPCs can be served',
    ]);
  });

  it('with a @Message() that no @Rpc() gives a type', async () => {
    @Controller()
    class Careless {
      get(@Message() request: ProtoMessage) {
        return request;
      }
    }
    expect(await mistakesOf([ThingsController, Careless], [service])).toEqual([
      'Careless.get has @Message(), and no @Rpc() that says what its request is',
    ]);
  });
});

describe('a base path', () => {
  it.each<[string, string | undefined]>([
    ['/v1', '/v1/things/:p0'],
    ['/v1/found/', '/v1/found/:p0'],
    ['/healthz', '/healthz'],
    ['/v', undefined],
    ['/v1/found/a', undefined],
    ['/accounts', undefined],
    ['/', undefined],
    ['', undefined],
  ])('%j hides no path of the app: %s', async (basePath, taken) => {
    @Controller()
    class Health {
      @Get('healthz')
      alive() {
        return {};
      }
    }
    @Module({
      controllers: [ThingsController, Health],
      providers: [{ provide: Readiness, useValue: { isReady: () => Promise.resolve(true) } }],
    })
    class App {}
    const config = { HOST: '127.0.0.1', HTTP_PORT: 0, GRPC_PORT: 0, isProduction: false };
    const app = await createRpcApp(App, { config, services: [service], logger: false, basePath });
    const failure = await app.listen().catch((error: unknown) => error);
    await app.nest.close();
    if (taken === undefined) return expect(failure).toBeUndefined();
    expect(failure).toBeInstanceOf(BasePathTaken);
    expect((failure as Error).message).toBe(
      `basePath: its path ${basePath.replace(/\/$/, '')} is where ${taken} is served: choose another`,
    );
  });
});

describe('@Rpc() refuses, where the class is defined,', () => {
  it('a method without @Message(), whose request nothing would check', () => {
    expect(() => {
      class Careless {
        @Rpc(unary(service, 'get'))
        get(request: ProtoMessage) {
          return request;
        }
      }
      return Careless;
    }).toThrow('Careless.get answers test.v1.Things/Get, so its first parameter must be the request, with @Message()');
  });

  it('two RPCs for one method', () => {
    expect(() => {
      class Careless {
        @Rpc(unary(service, 'get'))
        @Rpc(unary(service, 'find'))
        get(@Message() request: ProtoMessage) {
          return request;
        }
      }
      return Careless;
    }).toThrow('Careless.get has two @Rpc(): of test.v1.Things/Find and of test.v1.Things/Get');
  });

  it('an RPC that the generated code does not have yet', () => {
    expect(() => Rpc(unary(service, 'notGenerated'))).toThrow('generate the code of the contract anew');
  });
});
