import { type DescField, type DescMessage, isMessage, type Message } from '@bufbuild/protobuf';
import { StewardError } from '#domain/errors.ts';

type Fields = Readonly<Record<string, unknown>>;

function fieldValue(message: Fields, field: DescField): unknown {
  if (field.oneof === undefined) return message[field.localName];
  const chosen = message[field.oneof.localName] as { case?: string; value?: unknown };
  return chosen.case === field.localName ? chosen.value : undefined;
}

function* childrenOf(field: DescField, value: unknown, path: string): Generator<readonly [unknown, string]> {
  if (field.fieldKind === 'list') {
    for (const [index, item] of (value as readonly unknown[]).entries()) yield [item, `${path}[${index}]`];
  } else if (field.fieldKind === 'map') {
    for (const [key, item] of Object.entries(value as Fields)) yield [item, `${path}[${JSON.stringify(key)}]`];
  } else yield [value, path];
}

function refuseEnum(field: DescField, value: unknown, path: string): void {
  if (field.enum === undefined || typeof value !== 'number' || field.enum.value[value] !== undefined) return;
  throw new StewardError('INVALID_REQUEST', `${path} is ${value}, which is no ${field.enum.typeName}.`, {
    details: { field: path, value },
  });
}

/**
 * Refuses a decoded request that carries anything its contract does not name: a field (UNKNOWN_FIELD with its path and
 * number) or an enum value (INVALID_REQUEST), at any depth. What is not understood must not be silently dropped.
 */
export function refuseUnknown(schema: DescMessage, message: Message, at = ''): void {
  const unknown = message.$unknown?.[0];
  if (unknown !== undefined) {
    const where = at === '' ? schema.typeName : `${at} (${schema.typeName})`;
    throw new StewardError('UNKNOWN_FIELD', `${where} has no field number ${unknown.no}. Remove it.`, {
      details: { field: `${at === '' ? '' : `${at}.`}#${unknown.no}`, message: schema.typeName, number: unknown.no },
    });
  }
  for (const field of schema.fields) {
    if (field.message === undefined && field.enum === undefined) continue;
    const value = fieldValue(message as unknown as Fields, field);
    if (value === undefined || value === null) continue;
    const path = at === '' ? field.name : `${at}.${field.name}`;
    for (const [child, childPath] of childrenOf(field, value, path)) {
      refuseEnum(field, child, childPath);
      // Wrappers and Struct are held as plain values, which have no room for unknown fields.
      if (field.message !== undefined && isMessage(child, field.message))
        refuseUnknown(field.message, child, childPath);
    }
  }
}
