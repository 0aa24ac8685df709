import {
  type DescField,
  type DescMessage,
  type DescMethod,
  type DescMethodUnary,
  getOption,
  hasOption,
  type JsonObject,
  type JsonValue,
  ScalarType,
} from '@bufbuild/protobuf';
import { protoCamelCase } from '@bufbuild/protobuf/reflect';
import { httpOption, type HttpRule } from '@app/contract';
import { RpcError } from './rpc-error.js';

const VERBS = { get: 'GET', put: 'PUT', post: 'POST', delete: 'DELETE', patch: 'PATCH' } as const;

/** One HTTP route of a method, as its google.api.http rule binds it. */
export interface HttpBinding {
  readonly verb: (typeof VERBS)[keyof typeof VERBS];
  /** The path in the router's syntax. */
  readonly url: string;
  /** What each path parameter is called in the router, and the field that it is bound to. */
  readonly params: readonly { readonly name: string; readonly path: readonly DescField[] }[];
  /** What the body holds: the message, one of its fields, or nothing. */
  readonly body: '*' | DescField | undefined;
}

/**
 * The HTTP routes of a method: its google.api.http rule, then the rule's additional bindings.
 *
 * @throws Error when the method has no rule, or one that is not supported, so that it fails where the class is defined.
 */
export function httpBindings(method: DescMethodUnary): readonly [HttpBinding, ...HttpBinding[]] {
  if (!hasOption(method, httpOption)) {
    throw new Error(`${rpcNameOf(method)} has no google.api.http rule, so it cannot be served on HTTP`);
  }
  const rule = getOption(method, httpOption);
  return [bindingOf(method, rule), ...rule.additionalBindings.map((additional) => bindingOf(method, additional, true))];
}

/** The name of an RPC as logs and errors say it: `package.Service/Method`. */
export function rpcNameOf(method: DescMethod): string {
  return `${method.parent.typeName}/${method.name}`;
}

function bindingOf(method: DescMethodUnary, rule: HttpRule, isAdditional = false): HttpBinding {
  const refuse = (problem: string): never => {
    throw new Error(`the google.api.http rule of ${rpcNameOf(method)} ${problem}`);
  };
  const { pattern } = rule;
  if (pattern.case === undefined || pattern.case === 'custom') return refuse(`must be one of ${Object.keys(VERBS).join(', ')}`);
  const verb = VERBS[pattern.case];
  if (isAdditional && rule.additionalBindings.length > 0) refuse('has additional_bindings inside of additional_bindings');
  // Proxies and clients may drop the body of such a request.
  if (rule.body !== '' && (verb === 'GET' || verb === 'DELETE')) {
    refuse(`has a body, which a ${verb} request does not carry: leave "body" out, or use another verb`);
  }
  if (!/^\/[^?#]*$/.test(pattern.value)) refuse(`has the path "${pattern.value}", which must start with "/" and have no "?" or "#"`);

  const params: HttpBinding['params'][number][] = [];
  const url = pattern.value.replace(
    /\{([\w.]+)(?:=([^}]*))?\}([^/]?)|:/g,
    (token, path: string | undefined, template: string | undefined, next: string) => {
      // The router reads ":" as the start of a parameter, and "::" as a colon.
      if (path === undefined) return '::';
      if (template !== undefined && template !== '*') {
        refuse(`has the path template ${token}, which is not supported: only whole segments are`);
      }
      const fields = parameterField(method.input, path) ?? refuse(`must name a scalar field of ${method.input.typeName} in {${path}}`);
      if (params.some((other) => isSamePath(other.path, fields))) refuse(`has the parameter {${path}} twice`);
      const name = `p${params.length}`;
      params.push({ name, path: fields });
      // What follows a parameter in its segment would be read as part of its name.
      if (next === '') return `:${name}`;
      return `:${name}([^/]+)${next === ':' ? '::' : next}`;
    },
  );
  if (/[{}]/.test(url) || pattern.value.replace(/\{[^}]*\}/g, '').includes('*')) {
    refuse(`has the path "${pattern.value}", which cannot be read: only {field} stands for a segment`);
  }

  const body = bodyOf(method, rule.body, refuse);
  if (body && body !== '*' && params.some(({ path }) => path.length === 1 && path[0] === body)) {
    refuse(`binds "${rule.body}" both to the path and to the body`);
  }
  if (body !== '*') {
    const lost = method.input.fields.find((field) => field !== body && !fitsQuery(field));
    if (lost) refuse(`leaves the field "${lost.name}" to the query, which cannot hold it: name it, or "*", as the body`);
  }
  return { verb, url, params, body };
}

function bodyOf(method: DescMethodUnary, body: string, refuse: (problem: string) => never): HttpBinding['body'] {
  if (body === '' || body === '*') return body === '*' ? '*' : undefined;
  return (
    method.input.fields.find(({ name }) => name === body) ?? refuse(`has the body "${body}", which is no field of ${method.input.typeName}`)
  );
}

/** Whether the query can hold a field, as google.api.http says it: maps and repeated messages have no form there. */
function fitsQuery(field: DescField): boolean {
  return field.fieldKind !== 'map' && !(field.fieldKind === 'list' && field.listKind === 'message');
}

function isSamePath(one: readonly DescField[], other: readonly DescField[]): boolean {
  return one.length === other.length && one.every((field, index) => field === other[index]);
}

/** The fields of a path parameter, or undefined when it names no field that a path segment can hold. */
function parameterField(input: DescMessage, text: string): readonly DescField[] | undefined {
  const path = fieldPath(input, text);
  const kind = path?.at(-1)?.fieldKind;
  return kind === 'scalar' || kind === 'enum' ? path : undefined;
}

/** The fields of a dotted path, in either spelling, or undefined when it leads nowhere. */
function fieldPath(message: DescMessage, text: string): DescField[] | undefined {
  const path: DescField[] = [];
  let scope: DescMessage | undefined = message;
  for (const part of text.split('.')) {
    const field: DescField | undefined = scope?.fields.find(({ name, jsonName }) => name === part || jsonName === part);
    if (!field) return undefined;
    path.push(field);
    scope = field.fieldKind === 'message' ? field.message : undefined;
  }
  return path;
}

/** A request's parts, as an HTTP server hands them over. */
export interface HttpRequestParts {
  /** The raw body; undefined when there is none, something else when it is not JSON. */
  readonly body: unknown;
  readonly params: Readonly<Record<string, string>>;
  readonly query: Readonly<Record<string, string | string[]>>;
}

/**
 * The ProtoJSON of a request message, from where the rule says each field is.
 *
 * @throws RpcError INVALID_ARGUMENT when the body is not JSON, or not an object where one is meant.
 */
export function requestJson(input: DescMessage, binding: HttpBinding, request: HttpRequestParts): JsonObject {
  const body = binding.body === undefined ? undefined : parseBody(request.body);
  let json: JsonObject = {};
  if (binding.body === '*') {
    json = wholeMessage(body);
  } else {
    if (binding.body && body !== undefined) json[binding.body.jsonName] = body;
    for (const [key, value] of Object.entries(request.query)) {
      const path = fieldPath(input, key);
      // Unknown parameters are ignored, as unknown fields are; what the body holds is the body's.
      if (path && path[0] !== binding.body) setField(json, path, textValue(path.at(-1), value));
    }
  }
  for (const { name, path } of binding.params) setField(json, path, textValue(path.at(-1), request.params[name] ?? ''));
  return json;
}

function wholeMessage(body: JsonValue | undefined): JsonObject {
  if (body === undefined) return {};
  if (typeof body !== 'object' || body === null || Array.isArray(body)) {
    throw RpcError.invalidArgument([], 'the body must be a JSON object');
  }
  return body;
}

/** The body is of another kind than JSON. */
export function unsupportedMediaType(): RpcError {
  const options = { reason: 'UNSUPPORTED_MEDIA_TYPE', httpStatus: 415 };
  return RpcError.invalidArgument([], 'the content-type must be application/json', options);
}

// JSON is UTF-8; bytes that are not are refused, and not replaced by something else.
const utf8 = new TextDecoder('utf-8', { fatal: true });

function parseBody(body: unknown): JsonValue | undefined {
  if (body === undefined || body === null || (Buffer.isBuffer(body) && body.length === 0)) return undefined;
  if (!Buffer.isBuffer(body)) throw unsupportedMediaType();
  let text: string;
  try {
    text = utf8.decode(body);
  } catch {
    throw RpcError.invalidArgument([], 'the body is not valid UTF-8');
  }
  let json: JsonValue;
  try {
    json = JSON.parse(text) as JsonValue;
  } catch {
    // The parser's own words quote the body.
    throw RpcError.invalidArgument([], 'the body is not valid JSON');
  }
  if (typeof json === 'object' && json !== null && Object.hasOwn(json, '__proto__')) {
    throw RpcError.invalidArgument([], 'the body must not have a key "__proto__"');
  }
  return json;
}

/** Sets a field, whichever spelling the body may have used for it; only names of fields become keys. */
function setField(json: JsonObject, path: readonly DescField[], value: JsonValue): void {
  let scope = json;
  for (const [index, field] of path.entries()) {
    const given = scope[field.jsonName] ?? scope[field.name];
    delete scope[field.name];
    if (index === path.length - 1) {
      scope[field.jsonName] = value;
    } else {
      const next = typeof given === 'object' && given !== null && !Array.isArray(given) ? given : {};
      scope[field.jsonName] = next;
      scope = next;
    }
  }
}

/** The ProtoJSON of a text from a path or a query: numbers may stay texts there, booleans may not. */
function textValue(field: DescField | undefined, text: string | string[]): JsonValue {
  if (Array.isArray(text)) return text.map((item) => singleValue(field, item));
  if (field?.fieldKind === 'list') return [singleValue(field, text)];
  return singleValue(field, text);
}

function singleValue(field: DescField | undefined, text: string): JsonValue {
  const isBool =
    (field?.scalar ?? (field?.message?.typeName === 'google.protobuf.BoolValue' ? ScalarType.BOOL : undefined)) === ScalarType.BOOL;
  if (isBool && (text === 'true' || text === 'false')) return text === 'true';
  if (field?.enum && /^-?\d+$/.test(text)) return Number(text);
  // ProtoJSON knows the names of a mask in one spelling alone; whoever takes a field's name from the proto means the same.
  if (field?.message?.typeName === 'google.protobuf.FieldMask')
    return text
      .split(',')
      .map((path) => protoCamelCase(path))
      .join(',');
  return text;
}
