import {
  type DescField,
  type DescMessage,
  type DescMethod,
  type DescMethodUnary,
  type DescService,
  getOption,
  type JsonObject,
  type Registry,
} from '@bufbuild/protobuf';
import { Access, accessOption } from '@app/contract';
import { REQUEST_ID } from '../call.js';
import { type HttpBinding, httpBindings, rpcNameOf } from '../http-binding.js';
import { Code, RpcError } from '../rpc-error.js';
import type { Schema } from './rules.js';
import { clean, type Comments, Schemas } from './schemas.js';

/** What the document is of. */
export interface DocumentOptions {
  readonly title: string;
  readonly version: string;
  readonly description: string;
  readonly license: { readonly name: string; readonly identifier: string };
  readonly services: readonly DescService[];
  /** Knows the services' messages, and the extension `buf.validate.field`, as the contract has them. */
  readonly registry: Registry;
  /** What the proto says of something. */
  readonly comments: (desc: DescService | DescMethod | Parameters<Comments>[0]) => string;
}

type Operation = Schema;

const STATUS = 'google.rpc.Status';
/** The words of an error that the proto says nothing of. */
const COMMON: readonly (readonly [Code, string, RpcError])[] = [
  [Code.INVALID_ARGUMENT, 'when the request is not valid, with every violation', RpcError.invalidArgument([])],
  [Code.RESOURCE_EXHAUSTED, 'when the request is too large', RpcError.tooLarge()],
  [Code.INTERNAL, 'when the server is at fault', RpcError.internal()],
  [
    Code.UNAVAILABLE,
    'when it cannot be answered at the moment; try again after `Retry-After`',
    RpcError.unavailable('try again in a moment'),
  ],
];
const UNSUPPORTED = new RpcError(Code.INVALID_ARGUMENT, 'the content-type must be application/json', [], {
  reason: 'UNSUPPORTED_MEDIA_TYPE',
  httpStatus: 415,
});

/**
 * The OpenAPI 3.1 document of services as they are served over HTTP: paths as
 * google.api.http binds them, ProtoJSON types, the rules of buf.validate, the
 * proto's comments, and the errors of which a method's comment tells after "Errors:".
 *
 * @throws Error that names the RPC, when something of it cannot be said: a document that leaves it out would be wrong.
 */
export function openApiDocument(options: DocumentOptions): JsonObject {
  const methods = options.services.flatMap((service) => service.methods.map((method) => unary(method)));
  const asked = reachable(methods.map(({ input }) => input));
  let current: DescMethod | undefined;
  const refuse = (problem: string): never => {
    throw new Error(`${current ? rpcNameOf(current) : 'the contract'} ${problem}`);
  };
  const schemas = new Schemas(options.registry, options.comments, (message) => !asked.has(message), refuse);
  const paths: Record<string, Record<string, Operation>> = {};
  const routes = new Set<string>();
  for (const method of methods) {
    current = method;
    for (const [index, binding] of httpBindings(method).entries()) {
      const path = pathOf(binding);
      const verb = binding.verb.toLowerCase();
      const operations = (paths[path] ??= {});
      // What a parameter is called tells no two paths apart.
      const route = `${binding.verb} ${path.replace(/\{[^}]*\}/g, '{}')}`;
      if (routes.has(route)) refuse(`is bound to ${binding.verb} ${path}, as another RPC is`);
      routes.add(route);
      operations[verb] = operationOf(method, binding, index, schemas, options, refuse);
    }
  }
  schemas.components[STATUS] = STATUS_SCHEMA;
  const document = {
    openapi: '3.1.1',
    info: { title: options.title, version: options.version, description: options.description, license: { ...options.license } },
    servers: [{ url: '/', description: 'The api that serves this document.' }],
    security: [],
    tags: options.services.map((service) => ({ name: service.name, description: options.comments(service) })),
    paths,
    components: { securitySchemes: SECURITY_SCHEMES, schemas: schemas.components, parameters: PARAMETERS, headers: HEADERS },
  };
  return document as unknown as JsonObject;
}

function unary(method: DescMethod): DescMethodUnary {
  if (!isUnary(method)) throw new Error(`${rpcNameOf(method)} streams, and only unary RPCs are served over HTTP`);
  return method;
}

const isUnary = (method: DescMethod): method is DescMethodUnary => method.methodKind === 'unary';

/** The messages, and whatever they hold. */
function reachable(messages: readonly DescMessage[], found = new Set<DescMessage>()): ReadonlySet<DescMessage> {
  for (const message of messages) {
    if (found.has(message)) continue;
    found.add(message);
    reachable(
      message.fields.flatMap(({ message: inner }) => inner ?? []),
      found,
    );
  }
  return found;
}

/** The path in OpenAPI's syntax, from the router's. */
function pathOf({ url, params }: HttpBinding): string {
  return params
    .reduce(
      (path, { name, path: fields }) => path.replace(new RegExp(`:${name}(?:\\(\\[\\^/\\]\\+\\))?(?!\\w)`), `{${nameOf(fields)}}`),
      url,
    )
    .replaceAll('::', ':');
}

const nameOf = (fields: readonly DescField[]) => fields.map(({ name }) => name).join('.');

function operationOf(
  method: DescMethodUnary,
  binding: HttpBinding,
  index: number,
  schemas: Schemas,
  { comments, registry }: DocumentOptions,
  refuse: (problem: string) => never,
): Operation {
  const [words, errors] = splitErrors(comments(method), refuse);
  const access = accessOf(method, registry);
  const [summary = ''] = words.split(/(?<=\.)\s/, 1);
  return {
    operationId: `${method.parent.name}_${method.name}${index === 0 ? '' : `_${index + 1}`}`,
    tags: [method.parent.name],
    summary: summary.replace(/\.$/, ''),
    description: `${words}\n\nOn gRPC: \`${rpcNameOf(method)}\`.`,
    ...(method.proto.options?.deprecated && { deprecated: true }),
    security: access === Access.PUBLIC ? [] : [{ accessToken: [] }],
    parameters: [...parametersOf(method, binding, schemas, refuse), { $ref: '#/components/parameters/RequestId' }],
    ...requestBodyOf(method, binding, schemas),
    responses: {
      200: {
        description: 'Success.',
        headers: { [REQUEST_ID]: { $ref: '#/components/headers/RequestId' } },
        content: { 'application/json': { schema: schemas.of(method.output) } },
      },
      ...responsesOf([...errors, ...ERRORS_OF_ACCESS[access]], binding.body !== undefined),
    },
  };
}

function parametersOf(
  method: DescMethodUnary,
  { params, body }: HttpBinding,
  schemas: Schemas,
  refuse: (problem: string) => never,
): Operation[] {
  const inPath = params.map(({ path }) => ({ name: nameOf(path), in: 'path', required: true, ...parameter(path.at(-1)!, schemas) }));
  if (body === '*') return inPath;
  const taken = new Set(params.map(({ path }) => nameOf(path)));
  const inQuery: Operation[] = [];
  const look = (message: DescMessage, parents: readonly DescField[]) => {
    for (const field of message.fields) {
      const path = [...parents, field];
      const name = path.map(({ jsonName }) => jsonName).join('.');
      if (field === body || taken.has(nameOf(path))) continue;
      if (field.fieldKind === 'message' && !field.message.typeName.startsWith('google.protobuf.')) {
        if (parents.some((parent) => parent.message === field.message) || field.message === method.input) {
          refuse(`leaves ${nameOf(path)} to the query, which holds itself: give it to the body`);
        }
        look(field.message, path);
      } else inQuery.push({ name, in: 'query', ...parameter(field, schemas) });
    }
  };
  look(method.input, []);
  return [...inPath, ...inQuery];
}

/** What a field is as a parameter; what is said of it belongs to that, not to its type. */
function parameter(field: DescField, schemas: Schemas): Operation {
  const { description, deprecated, ...schema } = schemas.field(field);
  return { ...clean({ description, deprecated }), schema };
}

function requestBodyOf(method: DescMethodUnary, { body, params }: HttpBinding, schemas: Schemas): Operation {
  if (body === undefined) return {};
  const inPath = new Set(params.filter(({ path }) => path.length === 1).map(({ path }) => path[0]));
  const left = method.input.fields.filter((field) => !inPath.has(field));
  const whole = left.length === method.input.fields.length ? schemas.of(method.input) : schemas.object(method.input, left);
  const schema: Schema = body === '*' ? whole : schemas.field(body);
  return { requestBody: { required: body === '*' && left.length > 0, content: { 'application/json': { schema } } } };
}

/** What a method's comment says, and the errors that it names in a paragraph: `Errors: CODE when …; CODE for ….` */
function splitErrors(comment: string, refuse: (problem: string) => never): [words: string, errors: readonly (readonly [Code, string])[]] {
  const [words, named] = comment.split(/(?:^|\n\n)Errors:\s+/, 2) as [string, string?];
  const errors = (named ?? '').replaceAll('\n', ' ').split(/;\s+/).filter(Boolean);
  return [
    words,
    errors.map((text) => {
      const [, name = '', rest = ''] = /^([A-Z_]+)\b,?\s*(.*?)\.?$/.exec(text.trim()) ?? [];
      const code =
        Code[name as keyof typeof Code] ?? refuse(`names "${text.trim()}" among its errors, which begins with no canonical code`);
      return [code, rest] as const;
    }),
  ];
}

interface Case {
  readonly words: string;
  readonly error: RpcError;
}

function responsesOf(errors: readonly (readonly [Code, string])[], hasBody: boolean): Operation {
  const named = errors.map(([code, rest]): Case => ({ words: `${Code[code]} ${rest}`, error: exampleOf(code) }));
  const common = COMMON.filter(
    ([code, , { httpStatus }]) => !named.some(({ error }) => error.code === code && error.httpStatus === httpStatus),
  );
  const cases: Case[] = [
    ...named,
    ...common.map(([code, words, error]) => ({ words: `${Code[code]} ${words}`, error })),
    ...(hasBody ? [{ words: 'INVALID_ARGUMENT when the body is of another kind', error: UNSUPPORTED }] : []),
  ];
  const byStatus = [...Map.groupBy(cases, ({ error }) => error.httpStatus)].sort(([one], [other]) => one - other);
  const responses = byStatus.map(([status, group]): [string, Operation] => [String(status), errorResponse(group, status)]);
  return { ...Object.fromEntries(responses), default: errorResponse([{ words: 'Any other error', error: exampleOf(Code.UNKNOWN) }]) };
}

function errorResponse(cases: readonly Case[], status?: number): Operation {
  const isWorthRepeating = status === 429 || status === 503;
  return {
    description: cases.map(({ words }) => `${words}.`).join('\n\n'),
    headers: {
      [REQUEST_ID]: { $ref: '#/components/headers/RequestId' },
      ...(isWorthRepeating && { 'retry-after': { $ref: '#/components/headers/RetryAfter' } }),
    },
    content: {
      'application/json': {
        schema: { $ref: `#/components/schemas/${STATUS}` },
        examples: Object.fromEntries(cases.map(({ error }) => [error.reason, { value: error.toStatusJson() }])),
      },
    },
  };
}

function exampleOf(code: Code): RpcError {
  if (code === Code.INVALID_ARGUMENT) return RpcError.invalidArgument([]);
  if (code === Code.RESOURCE_EXHAUSTED) return RpcError.resourceExhausted('too many requests');
  return new RpcError(code, Code[code].toLowerCase().replaceAll('_', ' '));
}

const detail = (type: string, properties: Record<string, Schema>, required: readonly string[]): Schema => ({
  type: 'object',
  properties: { '@type': { const: `type.googleapis.com/google.rpc.${type}` }, ...properties },
  required: ['@type', ...required],
});

/** Who may call; everybody, where the contract knows no such option. */
function accessOf(method: DescMethodUnary, registry: Registry): Access {
  const option = registry.getExtension(accessOption.typeName);
  return option ? (getOption(method, option) as Access) : Access.PUBLIC;
}

const NOT_SIGNED_IN = [Code.UNAUTHENTICATED, 'when no access token came with the call, or one that is not good (any more)'] as const;

/** What the guard answers before an RPC does. */
const ERRORS_OF_ACCESS: Readonly<Record<Access, readonly (readonly [Code, string])[]>> = {
  [Access.PUBLIC]: [],
  [Access.UNSPECIFIED]: [NOT_SIGNED_IN],
  [Access.OPERATOR]: [NOT_SIGNED_IN, [Code.PERMISSION_DENIED, 'when whoever is signed in is no operator']],
};

const SECURITY_SCHEMES: Schema = {
  accessToken: { type: 'http', scheme: 'bearer', bearerFormat: 'JWT', description: 'The access token of a session.' },
};

/** How every error is answered: google.rpc.Status as ProtoJSON. */
const STATUS_SCHEMA: Schema = {
  type: 'object',
  description: 'An error: a canonical code, words for people, and details for programs. Each has an ErrorInfo.',
  properties: {
    code: { type: 'integer', minimum: 1, maximum: 16, description: 'The canonical code: https://grpc.io/docs/guides/status-codes/' },
    message: { type: 'string' },
    details: {
      type: 'array',
      items: {
        anyOf: [
          detail('ErrorInfo', { reason: { type: 'string', pattern: '^[A-Z0-9_]+$' }, domain: { type: 'string' } }, ['reason', 'domain']),
          detail(
            'BadRequest',
            {
              fieldViolations: {
                type: 'array',
                items: { type: 'object', properties: { field: { type: 'string' }, description: { type: 'string' } } },
              },
            },
            ['fieldViolations'],
          ),
          detail('RetryInfo', { retryDelay: { type: 'string', pattern: String.raw`^[0-9]+(\.[0-9]{1,9})?s$` } }, ['retryDelay']),
        ],
      },
    },
  },
  required: ['code', 'message', 'details'],
};

const REQUEST_ID_SCHEMA: Schema = { type: 'string', pattern: '^[A-Za-z0-9_.:-]{1,128}$' };

const PARAMETERS: Schema = {
  RequestId: {
    name: REQUEST_ID,
    in: 'header',
    description: 'The id of the request in logs; one is made when there is none, or when it cannot be logged.',
    schema: REQUEST_ID_SCHEMA,
  },
};

const HEADERS: Schema = {
  RequestId: { description: 'The id of the request, as it is in the logs.', schema: REQUEST_ID_SCHEMA },
  RetryAfter: { description: 'After how many seconds trying again makes sense.', schema: { type: 'integer', minimum: 0 } },
};
