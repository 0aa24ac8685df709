import { type DescField, getOption, type JsonValue, type Message, type Registry } from '@bufbuild/protobuf';
import { reflect, type ReflectMessage } from '@bufbuild/protobuf/reflect';

/** A JSON Schema (draft 2020-12), as OpenAPI 3.1 has it. */
export type Schema = Readonly<Record<string, unknown>>;

/** What the buf.validate rules of a field say. */
export interface FieldRules {
  /** What a schema can say of the field, or of each of its items. */
  readonly schema: Schema;
  readonly items: Schema;
  /** What it cannot, in the rules' own words. */
  readonly words: readonly string[];
  readonly isRequired: boolean;
  /** Whether the empty value is fine, whatever the rules say. */
  readonly mayBeEmpty: boolean;
}

const NONE: FieldRules = { schema: {}, items: {}, words: [], isRequired: false, mayBeEmpty: false };

/** What a value is turned into by a keyword: numbers that JSON has no room for are left to words. */
type Say = (value: unknown) => Schema | string;

const keyword =
  (name: string): Say =>
  (value) =>
    isJson(value) ? { [name]: toJsonValue(value) } : `${name}: ${String(value)}`;
const flag =
  (schema: Schema): Say =>
  (value) =>
    value === true ? schema : {};
const either =
  (make: (value: unknown) => Schema): Say =>
  (value) =>
    make(value);

/** By the kind of value, then by the rule's name: how a schema says it, or else in which words. */
const SAYINGS: Readonly<Record<string, Readonly<Record<string, Say>>>> = {
  string: {
    const: keyword('const'),
    len: either((value) => ({ minLength: Number(value), maxLength: Number(value) })),
    min_len: keyword('minLength'),
    max_len: keyword('maxLength'),
    pattern: (value) => patternSchema(String(value)) ?? `must match ${String(value)}`,
    prefix: (value) => ({ pattern: `^${escaped(String(value))}` }),
    suffix: (value) => ({ pattern: `${escaped(String(value))}$` }),
    contains: (value) => ({ pattern: escaped(String(value)) }),
    not_contains: (value) => ({ not: { pattern: escaped(String(value)) } }),
    in: keyword('enum'),
    not_in: (value) => ({ not: { enum: toJsonValue(value) } }),
    min_bytes: (value) => `at least ${String(value)} bytes of UTF-8`,
    max_bytes: (value) => `at most ${String(value)} bytes of UTF-8`,
    len_bytes: (value) => `exactly ${String(value)} bytes of UTF-8`,
    email: flag({ format: 'email' }),
    hostname: flag({ format: 'hostname' }),
    uri: flag({ format: 'uri' }),
    uri_ref: flag({ format: 'uri-reference' }),
    ip: flag({ anyOf: [{ format: 'ipv4' }, { format: 'ipv6' }] }),
    ipv4: flag({ format: 'ipv4' }),
    ipv6: flag({ format: 'ipv6' }),
    uuid: flag({ format: 'uuid' }),
  },
  number: {
    const: keyword('const'),
    lt: keyword('exclusiveMaximum'),
    lte: keyword('maximum'),
    gt: keyword('exclusiveMinimum'),
    gte: keyword('minimum'),
    in: keyword('enum'),
    not_in: (value) => ({ not: { enum: toJsonValue(value) } }),
    finite: flag({ type: 'number' }),
  },
  bool: { const: keyword('const') },
  enum: { defined_only: flag({}) },
  bytes: {
    min_len: (value) => `at least ${String(value)} bytes`,
    max_len: (value) => `at most ${String(value)} bytes`,
    len: (value) => `exactly ${String(value)} bytes`,
  },
  repeated: { min_items: keyword('minItems'), max_items: keyword('maxItems'), unique: flag({ uniqueItems: true }) },
  map: { min_pairs: keyword('minProperties'), max_pairs: keyword('maxProperties') },
};

const NUMBERS = new Set('float double int32 int64 uint32 uint64 sint32 sint64 fixed32 fixed64 sfixed32 sfixed64'.split(' '));
/** In JSON these are texts, of which a schema has no ranges. */
const TEXT_NUMBERS = new Set('int64 uint64 sint64 fixed64 sfixed64'.split(' '));

/**
 * Reads the buf.validate rules of a field.
 *
 * @param refuse called, never to return, with a rule that is not known here: a document that leaves one out would be wrong.
 */
export function rulesOf(field: DescField, registry: Registry, refuse: (problem: string) => never): FieldRules {
  const extension = registry.getExtension('buf.validate.field');
  if (!extension || !field.proto.options) return NONE;
  const given = getOption(field, extension) as Message | undefined;
  if (!given || !extension.message) return NONE;
  return readRules(reflect(extension.message, given), refuse);
}

function readRules(rules: ReflectMessage, refuse: (problem: string) => never): FieldRules {
  if ((rules.message.$unknown?.length ?? 0) > 0) refuse('has a rule of buf.validate that proto/buf/validate does not know');
  const result = { schema: {} as Draft, items: {} as Draft, words: [] as string[], isRequired: false, mayBeEmpty: false };
  for (const field of rules.fields.filter((each) => rules.isSet(each))) {
    const value = rules.get(field);
    if (field.name === 'required') result.isRequired = value === true;
    else if (field.name === 'ignore') result.mayBeEmpty = value === 1;
    else if (field.name === 'cel') readCel(value as Iterable<ReflectMessage>, result);
    else if (field.fieldKind === 'message') readTyped(field.name, value as ReflectMessage, result, refuse);
    else refuse(`has the rule "${field.name}", which has no word in OpenAPI here`);
  }
  return result;
}

type Draft = Record<string, unknown>;
type Result = { schema: Draft; items: Draft; words: string[] };

/** An expression that is one pattern is said as that; of the others, the message is. */
function readCel(rules: Iterable<ReflectMessage>, result: Result): void {
  for (const rule of rules) {
    const text = (name: string) => String(rule.get(rule.fields.find((field) => field.name === name)!));
    const pattern = /^this\.matches\('((?:[^'\\]|\\.)*)'\)$/.exec(text('expression'))?.[1];
    const schema = pattern === undefined ? undefined : patternSchema(pattern);
    if (schema) merge(result.schema, schema);
    else result.words.push(text('message'));
  }
}

function readTyped(kind: string, rules: ReflectMessage, result: Result, refuse: (problem: string) => never): void {
  if ((rules.message.$unknown?.length ?? 0) > 0) refuse(`has a rule for ${kind} that proto/buf/validate does not know`);
  const sayings = SAYINGS[NUMBERS.has(kind) ? 'number' : kind];
  for (const field of rules.fields.filter((each) => rules.isSet(each))) {
    const value = rules.get(field);
    if (kind === 'repeated' && field.name === 'items') {
      const items = readRules(value as ReflectMessage, refuse);
      merge(result.items, items.schema);
      result.words.push(...items.words.map((word) => `each: ${word}`));
      continue;
    }
    const say = sayings?.[field.name] ?? refuse(`has the rule "${kind}.${field.name}", which has no word in OpenAPI here`);
    const said = TEXT_NUMBERS.has(kind) ? `${field.name.replace('_', ' ')} ${JSON.stringify(toJsonValue(value))}` : say(value);
    if (typeof said === 'string') result.words.push(said);
    else merge(result.schema, said);
  }
}

/** Two rules with one keyword hold both. */
function merge(schema: Draft, more: Schema): void {
  for (const [name, value] of Object.entries(more)) {
    if (!(name in schema)) schema[name] = value;
    else schema['allOf'] = [...((schema['allOf'] as Schema[] | undefined) ?? []), { [name]: value }];
  }
}

/** A pattern of RE2 as one of ECMA-262, if every reader of schemas understands it: those of other scripts and with flags they do not. */
function patternSchema(pattern: string): Schema | undefined {
  if (/\\[pPxQaCzAG]|\(\?|[^\x20-\x7E]/.test(pattern)) return undefined;
  return isPattern(pattern) ? { pattern } : undefined;
}

function isPattern(text: string): boolean {
  try {
    return new RegExp(text, 'u') instanceof RegExp;
  } catch {
    // A SyntaxError: no pattern of ECMA-262.
    return false;
  }
}

const escaped = (text: string) => text.replace(/[\\^$.*+?()[\]{}|/-]/g, String.raw`\$&`);

function isJson(value: unknown): boolean {
  return typeof value !== 'number' || Number.isFinite(value);
}

function toJsonValue(value: unknown): JsonValue {
  if (typeof value === 'bigint') return Number(value);
  if (typeof value === 'object' && value !== null && Symbol.iterator in value) return [...(value as Iterable<unknown>)].map(toJsonValue);
  return value as JsonValue;
}
