import { type DescMethodUnary, getOption, hasOption, type JsonObject, type JsonValue } from '@bufbuild/protobuf';
import { http } from './gen/google/api/annotations_pb.js';

/** A request as HTTP carries it. */
export interface HttpRequest {
  readonly verb: string;
  /** With its query. */
  readonly path: string;
  /** JSON; undefined for none. */
  readonly body: string | undefined;
}

/**
 * What a method's google.api.http rule makes of a message.
 *
 * @throws TypeError when the method is not served over HTTP.
 */
export function httpRequest(method: DescMethodUnary, message: JsonObject): HttpRequest {
  const rule = hasOption(method, http) ? getOption(method, http) : undefined;
  const pattern = rule?.pattern;
  if (!rule || !pattern?.case || pattern.case === 'custom') throw new TypeError(`${method.name} is not served over HTTP`);
  const rest = structuredClone(message);
  const path = pattern.value.replace(/\{([\w.]+)[^}]*\}/g, (_, name: string) => encodeURIComponent(String(take(rest, name, method) ?? '')));
  const verb = pattern.case.toUpperCase();
  if (rule.body === '*') return { verb, path, body: JSON.stringify(rest) };
  const body = rule.body === '' ? undefined : JSON.stringify(take(rest, rule.body, method) ?? null);
  const query = new URLSearchParams([...parameters(rest, '')]);
  return { verb, path: query.size === 0 ? path : `${path}?${query}`, body };
}

/** Takes a field, by its dotted name in the proto, out of a message's JSON. */
function take(json: JsonObject, name: string, { input }: DescMethodUnary): JsonValue | undefined {
  let scope: JsonObject | undefined = json;
  let desc: DescMethodUnary['input'] | undefined = input;
  const parts = name.split('.');
  for (const [index, part] of parts.entries()) {
    const field: DescMethodUnary['input']['fields'][number] | undefined = desc?.fields.find((each) => each.name === part);
    const key = field?.jsonName ?? part;
    const value: JsonValue | undefined = scope?.[key];
    if (index === parts.length - 1) {
      delete scope?.[key];
      return value;
    }
    scope = typeof value === 'object' && value !== null && !Array.isArray(value) ? value : undefined;
    desc = field?.message;
  }
  return undefined;
}

function* parameters(json: JsonObject, prefix: string): Generator<[string, string]> {
  for (const [name, value] of Object.entries(json)) {
    if (Array.isArray(value)) for (const item of value) yield [prefix + name, String(item)];
    else if (typeof value === 'object' && value !== null) yield* parameters(value, `${prefix}${name}.`);
    else yield [prefix + name, String(value)];
  }
}
