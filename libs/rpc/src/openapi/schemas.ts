import { type DescEnum, type DescField, type DescMessage, type JsonValue, type Registry, ScalarType } from '@bufbuild/protobuf';
import { type FieldRules, rulesOf, type Schema } from './rules.js';

/** What is said of a message, a field, a method in the proto, or the empty text. */
export type Comments = (desc: DescMessage | DescField | DescEnum) => string;

const ref = (name: string): Schema => ({ $ref: `#/components/schemas/${name}` });
const integer = (format: string, minimum: number, maximum: number): Schema => ({ type: 'integer', format, minimum, maximum });
const INT32 = integer('int32', -(2 ** 31), 2 ** 31 - 1);
const UINT32 = integer('uint32', 0, 2 ** 32 - 1);
/** Texts, for JavaScript would lose digits. */
const INT64: Schema = { type: 'string', format: 'int64', pattern: '^-?[0-9]{1,19}$' };
const UINT64: Schema = { type: 'string', format: 'uint64', pattern: '^[0-9]{1,20}$' };
const FLOAT: Schema = { anyOf: [{ type: 'number' }, { type: 'string', enum: ['NaN', 'Infinity', '-Infinity'] }] };

/** The ProtoJSON of scalars: https://protobuf.dev/programming-guides/json/ */
const SCALARS: Readonly<Record<ScalarType, Schema>> = {
  [ScalarType.STRING]: { type: 'string' },
  [ScalarType.BOOL]: { type: 'boolean' },
  [ScalarType.BYTES]: { type: 'string', contentEncoding: 'base64' },
  [ScalarType.DOUBLE]: FLOAT,
  [ScalarType.FLOAT]: FLOAT,
  [ScalarType.INT32]: INT32,
  [ScalarType.SINT32]: INT32,
  [ScalarType.SFIXED32]: INT32,
  [ScalarType.UINT32]: UINT32,
  [ScalarType.FIXED32]: UINT32,
  [ScalarType.INT64]: INT64,
  [ScalarType.SINT64]: INT64,
  [ScalarType.SFIXED64]: INT64,
  [ScalarType.UINT64]: UINT64,
  [ScalarType.FIXED64]: UINT64,
};

const nullable = (schema: Schema): Schema => ({ anyOf: [schema, { type: 'null' }] });

/** Messages whose ProtoJSON is their own. */
const WELL_KNOWN: Readonly<Record<string, Schema>> = {
  'google.protobuf.Timestamp': { type: 'string', format: 'date-time' },
  'google.protobuf.Duration': { type: 'string', pattern: String.raw`^-?[0-9]+(\.[0-9]{1,9})?s$` },
  'google.protobuf.FieldMask': { type: 'string' },
  'google.protobuf.Empty': { type: 'object' },
  'google.protobuf.Struct': { type: 'object' },
  'google.protobuf.Value': {},
  'google.protobuf.ListValue': { type: 'array', items: {} },
  'google.protobuf.Any': { type: 'object', properties: { '@type': { type: 'string' } }, required: ['@type'] },
  'google.protobuf.StringValue': nullable(SCALARS[ScalarType.STRING]),
  'google.protobuf.BytesValue': nullable(SCALARS[ScalarType.BYTES]),
  'google.protobuf.BoolValue': nullable(SCALARS[ScalarType.BOOL]),
  'google.protobuf.DoubleValue': nullable(FLOAT),
  'google.protobuf.FloatValue': nullable(FLOAT),
  'google.protobuf.Int32Value': nullable(INT32),
  'google.protobuf.UInt32Value': nullable(UINT32),
  'google.protobuf.Int64Value': nullable(INT64),
  'google.protobuf.UInt64Value': nullable(UINT64),
};

/** Makes the JSON Schemas of messages in their ProtoJSON form, each once, and refers to them by their names. */
export class Schemas {
  readonly components: Record<string, Schema> = {};

  /**
   * @param isAnswer whether a message is only ever answered with: then fields without presence are always there.
   * @param refuse called, never to return, when something cannot be said.
   */
  constructor(
    private readonly registry: Registry,
    private readonly comments: Comments,
    private readonly isAnswer: (message: DescMessage) => boolean,
    private readonly refuse: (problem: string) => never,
  ) {}

  /** A reference to the message's schema, which is made when nobody did before; of a well-known one its own. */
  of(message: DescMessage): Schema {
    const wellKnown = WELL_KNOWN[message.typeName];
    if (wellKnown) return wellKnown;
    if (message.typeName.startsWith('google.protobuf.')) this.refuse(`uses ${message.typeName}, whose JSON form is not known here`);
    if (!(message.typeName in this.components)) {
      // Before its fields, among which it may be itself.
      this.components[message.typeName] = {};
      this.components[message.typeName] = this.object(message, message.fields);
    }
    return ref(message.typeName);
  }

  /** The schema of a message with some of its fields only. */
  object(message: DescMessage, fields: readonly DescField[]): Schema {
    const always = this.isAnswer(message);
    const isAlways = (field: DescField) => always && field.presence === IMPLICIT && field.oneof === undefined;
    const required = fields.filter((field) => (always ? isAlways(field) : this.isRequired(field)));
    // A schema cannot name "at most one" but by pairs.
    const clashes = message.oneofs.flatMap(({ fields: members }) =>
      members.flatMap((one, index) => members.slice(index + 1).map((other) => ({ not: { required: [one.jsonName, other.jsonName] } }))),
    );
    return clean({
      type: 'object',
      description: this.comments(message),
      properties: Object.fromEntries(fields.map((field) => [field.jsonName, this.field(field)])),
      required: required.length === 0 ? undefined : required.map(({ jsonName }) => jsonName),
      allOf: clashes.length === 0 ? undefined : clashes,
    });
  }

  /** The schema of a field's value, with what is said of it and demanded of it. */
  field(field: DescField): Schema {
    const rules = this.rulesOf(field);
    const value = this.value(field, rules.items);
    const description = [this.comments(field), ...rules.words.map((word) => `Rule: ${word}.`)].filter((text) => text !== '').join('\n\n');
    let schema: Schema = { ...value, ...rules.schema };
    if (rules.mayBeEmpty && Object.keys(rules.schema).length > 0) schema = { anyOf: [schema, { const: emptyOf(field) }] };
    // Next to $ref, OpenAPI 3.1 allows a description.
    return clean({ ...schema, description, deprecated: field.proto.options?.deprecated || undefined });
  }

  private rulesOf(field: DescField): FieldRules {
    return rulesOf(field, this.registry, (problem) =>
      this.refuse(`has the field ${field.parent.typeName}.${field.name}, which ${problem}`),
    );
  }

  private value(field: DescField, itemRules: Schema): Schema {
    switch (field.fieldKind) {
      case 'list':
        return { type: 'array', items: { ...this.single(field), ...itemRules } };
      case 'map':
        return { type: 'object', additionalProperties: this.single(field) };
      default:
        return this.single(field);
    }
  }

  private single(field: DescField): Schema {
    if (field.message) return this.of(field.message);
    if (field.enum) return { type: 'string', enum: field.enum.values.map(({ name }) => name) };
    return { ...SCALARS[field.scalar!] };
  }

  /** Whether a request without the field breaks its rules. */
  private isRequired(field: DescField): boolean {
    const rules = this.rulesOf(field);
    if (rules.isRequired) return true;
    if (rules.mayBeEmpty || field.presence !== IMPLICIT || field.oneof) return false;
    const { minLength, minItems, minProperties, format } = rules.schema;
    return [minLength, minItems, minProperties].some((least) => typeof least === 'number' && least > 0) || format !== undefined;
  }
}

/** FeatureSet_FieldPresence.IMPLICIT: an absent field is its empty value. */
const IMPLICIT = 2;

function emptyOf({ fieldKind, scalar }: DescField): JsonValue {
  if (fieldKind !== 'scalar') return null;
  if (scalar === ScalarType.BOOL) return false;
  return SCALARS[scalar]['type'] === 'string' ? '' : 0;
}

/** Without what is undefined or says nothing. */
export function clean(schema: Schema): Schema {
  return Object.fromEntries(Object.entries(schema).filter(([, value]) => value !== undefined && value !== ''));
}
