import { create, type DescField, type DescMessage, type Message, ScalarType, toBinary } from '@bufbuild/protobuf';

/** What is put into a field of this name: the victim's own values. Names are those of the protos, in camel case. */
export type Values = Readonly<Record<string, unknown>>;

const DEEPEST = 4;

/**
 * A request of this type with every field filled: from `values` where they have one of its name and kind, with something
 * plain where not. Of a oneof the first member is set.
 */
export function requestOf(schema: DescMessage, values: Values): Uint8Array {
  return toBinary(schema, filled(schema, values, 0));
}

function filled(schema: DescMessage, values: Values, depth: number): Message {
  const message = create(schema) as Message & Record<string, unknown>;
  if (depth > DEEPEST) return message;
  for (const member of schema.members) {
    if (member.kind === 'oneof') {
      const field = member.fields[0];
      const value = field && (one(field, values, depth) ?? zero(field));
      if (field && value !== undefined) message[member.localName] = { case: field.localName, value };
    } else if (member.fieldKind === 'list') {
      message[member.localName] = listOf(member, values, depth);
    } else if (member.fieldKind === 'map') {
      const map = values[member.localName];
      if (map !== undefined) message[member.localName] = map;
    } else {
      const value = one(member, values, depth);
      if (value !== undefined) message[member.localName] = value;
    }
  }
  return message;
}

function listOf(field: DescField & { fieldKind: 'list' }, values: Values, depth: number): unknown[] {
  const named = values[field.localName];
  if (Array.isArray(named)) return named;
  if (field.listKind === 'message') return [filled(field.message, values, depth + 1)];
  return [];
}

function one(field: DescField, values: Values, depth: number): unknown {
  const named = values[field.localName];
  switch (field.fieldKind) {
    case 'message':
      // A name may stand for a word in one request and for a message in another.
      if (typeof named === 'object') return named;
      // Bounds of time and amounts of money narrow what is shown: left out, all of it would be.
      return field.message.typeName.startsWith('google.protobuf.')
        ? undefined
        : filled(field.message, values, depth + 1);
    case 'enum':
      return typeof named === 'number' ? named : 0;
    case 'scalar':
      // Names come again with another type: only what fits is put in.
      return typeof named === typeof zero(field) ? named : undefined;
    default:
      return undefined;
  }
}

/** The value a scalar field has when it is not set; undefined for others. */
function zero(field: DescField): unknown {
  if (field.fieldKind !== 'scalar') return undefined;
  switch (field.scalar) {
    case ScalarType.STRING:
      return '';
    case ScalarType.BOOL:
      return false;
    case ScalarType.BYTES:
      return new Uint8Array();
    case ScalarType.INT64:
    case ScalarType.UINT64:
      return 0n;
    default:
      return 0;
  }
}
