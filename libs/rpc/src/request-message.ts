import {
  type DescField,
  type DescMessage,
  fromBinary,
  fromJson,
  type JsonObject,
  type JsonValue,
  type Message,
  type MessageShape,
  ScalarType,
} from '@bufbuild/protobuf';
import { type Path, reflect, type ReflectMessage } from '@bufbuild/protobuf/reflect';
import { createValidator } from '@bufbuild/protovalidate';
import { type FieldViolation, RpcError } from './rpc-error.js';

const validator = createValidator();

/** A request that could be read, at least in part, and breaks rules of its contract; for whoever knows what else is wrong with it. */
export class InvalidRequest extends RpcError {
  /** @param request the message, as far as it could be read. */
  constructor(
    violations: readonly FieldViolation[],
    readonly request: Message,
  ) {
    const { code, message, details } = RpcError.invalidArgument(violations);
    super(code, message, details);
  }
}

/**
 * Decodes and validates a request message that came as protobuf.
 *
 * @throws RpcError INVALID_ARGUMENT, with every violation.
 */
export function messageFromBinary<Desc extends DescMessage>(desc: Desc, bytes: Uint8Array): MessageShape<Desc> {
  let message: MessageShape<Desc>;
  try {
    message = fromBinary(desc, bytes);
  } catch {
    throw RpcError.invalidArgument([], `the request cannot be decoded as ${desc.typeName}`);
  }
  return valid(desc, message, []);
}

/**
 * Decodes and validates a request message that came as ProtoJSON: both
 * spellings of a field are read, unknown fields are ignored.
 *
 * @throws RpcError INVALID_ARGUMENT, with every violation, wrong types included.
 */
export function messageFromJson<Desc extends DescMessage>(desc: Desc, json: JsonObject): MessageShape<Desc> {
  const violations: FieldViolation[] = [];
  const { part, message } = readablePart(desc, json, [], violations);
  // Each field can be read by itself: what is left to clash are the members of a oneof.
  if (!message) throw RpcError.invalidArgument([...violations, ...oneofClashes(desc, part)]);
  return valid(desc, message, violations);
}

/** How deep within a message it is said which field cannot be read; messages may contain themselves. */
const MAX_DEPTH = 20;

/**
 * What can be read of a message, and the message, unless members of a oneof clash.
 *
 * @param parents the names of the fields that lead to it. @param violations what cannot be read is added here.
 */
function readablePart<Desc extends DescMessage>(
  desc: Desc,
  json: JsonObject,
  parents: readonly string[],
  violations: FieldViolation[],
): { part: JsonObject; message: MessageShape<Desc> | undefined } {
  const part: JsonObject = {};
  const given = new Map<DescField, string>();
  const pathOf = (name: string) => [...parents, name].join('.');
  for (const [key, value] of Object.entries(json)) {
    const field = desc.fields.find(({ name, jsonName }) => name === key || jsonName === key);
    if (!field) continue;
    if (given.has(field)) {
      violations.push({ field: pathOf(field.name), description: 'is given twice, in both of its spellings' });
      continue;
    }
    given.set(field, key);
    part[key] = value;
  }
  const message = readJson(desc, part);
  if (message) return { part, message };
  // Field by field, because the decoder stops at the first field that it cannot read.
  for (const [field, key] of given) {
    const value = part[key]!;
    if (readJson(desc, { [key]: value })) continue;
    let reasons: FieldViolation[] = [{ field: pathOf(field.name), description: typeViolation(field, value) }];
    if (field.fieldKind === 'message' && !isWellKnown(field.message) && isObject(value) && parents.length < MAX_DEPTH) {
      const within = readablePart(field.message, value, [...parents, field.name], violations);
      part[key] = within.part;
      if (within.message) continue;
      const clashes = oneofClashes(field.message, within.part);
      // Never left out without a word.
      if (clashes.length > 0) reasons = clashes.map((clash) => ({ ...clash, field: pathOf(`${field.name}.${clash.field}`) }));
    }
    violations.push(...reasons);
    delete part[key];
  }
  return { part, message: readJson(desc, part) };
}

function isObject(value: JsonValue): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The message, or undefined when something in it cannot be read. */
function readJson<Desc extends DescMessage>(desc: Desc, json: JsonObject): MessageShape<Desc> | undefined {
  try {
    return fromJson(desc, json, { ignoreUnknownFields: true });
  } catch {
    return undefined;
  }
}

function oneofClashes(desc: DescMessage, json: JsonObject): FieldViolation[] {
  return desc.oneofs.flatMap((oneof) => {
    const given = oneof.fields.filter(({ name, jsonName }) => name in json || jsonName in json);
    const names = given.map(({ jsonName }) => jsonName).join(', ');
    return given.length < 2 ? [] : given.map(({ name }) => ({ field: name, description: `only one of ${names} may be given` }));
  });
}

/** The message when nothing is wrong with it; throws all that is wrong with it, and with its decoding, otherwise. */
function valid<Desc extends DescMessage>(desc: Desc, message: MessageShape<Desc>, decoding: readonly FieldViolation[]): MessageShape<Desc> {
  const result = validator.validate(desc, message);
  // The rules themselves are broken: not the caller's fault.
  if (result.kind === 'error') throw result.error;
  const violations = [...decoding, ...textViolations(reflect(desc, message), '')];
  // A field that could not be read is empty, which says nothing about what was sent.
  for (const violation of result.violations ?? []) {
    const path = protoPath(violation.field);
    if (decoding.some(({ field }) => path === field || path.startsWith(`${field}.`) || path.startsWith(`${field}[`))) continue;
    violations.push({ field: path, description: inGoodEnglish(violation.message) });
  }
  if (violations.length > 0) throw new InvalidRequest(violations, message);
  return message;
}

/** The validator counts without looking: "at least 1 characters". */
function inGoodEnglish(message: string): string {
  return message.replace(/\b1 (character|byte|item|value|pair|field)s\b/g, '1 $1').replace(/\b1 entries\b/g, '1 entry');
}

function protoPath(path: Path): string {
  return path.reduce((text, part) => {
    if (part.kind === 'list_sub') return `${text}[${part.index}]`;
    if (part.kind === 'map_sub') return `${text}[${JSON.stringify(String(part.key))}]`;
    return text === '' ? part.name : `${text}.${part.name}`;
  }, '');
}

/** Texts that the database cannot hold: with a NUL in them. (Both decoders refuse what is not Unicode.) */
function* textViolations(message: ReflectMessage, parent: string): Generator<FieldViolation> {
  for (const field of message.fields) {
    if (!message.isSet(field)) continue;
    const path = parent === '' ? field.name : `${parent}.${field.name}`;
    switch (field.fieldKind) {
      case 'scalar':
        yield* textViolation(message.get(field), path);
        break;
      case 'message':
        yield* textViolations(message.get(field), path);
        break;
      case 'list':
        for (const [index, item] of [...message.get(field)].entries()) yield* itemViolations(item, `${path}[${index}]`);
        break;
      case 'map':
        for (const [key, item] of message.get(field)) {
          const place = `${path}[${JSON.stringify(String(key))}]`;
          yield* textViolation(key, place);
          yield* itemViolations(item, place);
        }
        break;
    }
  }
}

function itemViolations(item: unknown, path: string): Iterable<FieldViolation> {
  return typeof item === 'object' && item !== null && 'fields' in item
    ? textViolations(item as ReflectMessage, path)
    : textViolation(item, path);
}

function* textViolation(value: unknown, field: string): Generator<FieldViolation> {
  if (typeof value === 'string' && value.includes('\0')) yield { field, description: 'must not contain the character NUL' };
}

function typeViolation(field: DescField, value: JsonValue): string {
  switch (field.fieldKind) {
    case 'list':
      return 'must be an array of values of the right type';
    case 'map':
      return 'must be an object with values of the right type';
    case 'enum':
      return 'must be the name or the number of a value';
    case 'message':
      return isWellKnown(field.message)
        ? `must be a ${field.message.name} in its JSON form`
        : 'must be an object with fields of the right types';
    case 'scalar':
      break;
  }
  switch (field.scalar) {
    case ScalarType.STRING:
      return typeof value === 'string' ? 'must be well-formed Unicode text' : 'must be a string';
    case ScalarType.BOOL:
      return 'must be true or false';
    case ScalarType.BYTES:
      return 'must be a string in base64';
    case ScalarType.DOUBLE:
    case ScalarType.FLOAT:
      return 'must be a number';
    default:
      return 'must be a whole number in its range';
  }
}

function isWellKnown(desc: DescMessage): boolean {
  return desc.typeName.startsWith('google.protobuf.');
}
