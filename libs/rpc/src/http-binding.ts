import {
  type DescField,
  type DescMessage,
  type DescMethodUnary,
  getOption,
  hasOption,
  type JsonObject,
  type JsonValue,
  ScalarType,
} from '@bufbuild/protobuf';
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
    throw new Error(`${method.toString()} has no google.api.http rule, so it cannot be served on HTTP`);
  }
  const rule = getOption(method, httpOption);
  return [bindingOf(method, rule), ...rule.additionalBindings.map((additional) => bindingOf(method, additional))];
}

function bindingOf(method: DescMethodUnary, rule: HttpRule): HttpBinding {
  const { pattern } = rule;
  if (pattern.case === undefined || pattern.case === 'custom') {
    throw new Error(`the google.api.http rule of ${method.toString()} must be one of ${Object.keys(VERBS).join(', ')}`);
  }
  const params: HttpBinding['params'][number][] = [];
  const url = pattern.value.replace(
    /\{([\w.]+)(?:=([^}]*))?\}([^/]?)|:/g,
    (token, path: string | undefined, template: string | undefined, next: string) => {
      // The router reads ":" as the start of a parameter, and "::" as a colon.
      if (path === undefined) return '::';
      if (template !== undefined && template !== '*') {
        throw new Error(`the path template ${token} of ${method.toString()} is not supported: only whole segments are`);
      }
      const name = `p${params.length}`;
      params.push({ name, path: parameterField(method, path) });
      // What follows a parameter in its segment would be read as part of its name.
      if (next === '') return `:${name}`;
      return `:${name}([^/]+)${next === ':' ? '::' : next}`;
    },
  );
  return { verb: VERBS[pattern.case], url, params, body: bodyOf(method, rule.body) };
}

function bodyOf(method: DescMethodUnary, body: string): HttpBinding['body'] {
  if (body === '' || body === '*') return body === '*' ? '*' : undefined;
  const field = method.input.fields.find(({ name }) => name === body);
  if (!field)
    throw new Error(
      `the google.api.http rule of ${method.toString()} has the body "${body}", which is no field of ${method.input.typeName}`,
    );
  return field;
}

function parameterField(method: DescMethodUnary, text: string): readonly DescField[] {
  const path = fieldPath(method.input, text);
  const kind = path?.at(-1)?.fieldKind;
  if (!path || (kind !== 'scalar' && kind !== 'enum')) {
    throw new Error(`the path parameter {${text}} of ${method.toString()} must name a scalar field of ${method.input.typeName}`);
  }
  return path;
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

// JSON is UTF-8; bytes that are not are refused, and not replaced by something else.
const utf8 = new TextDecoder('utf-8', { fatal: true });

function parseBody(body: unknown): JsonValue | undefined {
  if (body === undefined || body === null || (Buffer.isBuffer(body) && body.length === 0)) return undefined;
  if (!Buffer.isBuffer(body)) throw RpcError.invalidArgument([], 'the content-type must be application/json');
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
  return text;
}
