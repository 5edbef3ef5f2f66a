import { type DescMessage, type JsonValue, type MessageShape, toJson } from '@bufbuild/protobuf';

// What a terminal could act upon or hide. JSON may spell any character as an escape: the value stays the same.
const UNPRINTABLE = /[\u007f-\u009f\p{DI}\p{Bidi_C}\p{Zl}\p{Zp}]/gu;

/** A message in protobuf's JSON mapping, fields with their default value included: the shape never changes. */
export function toDocument<D extends DescMessage>(schema: D, message: MessageShape<D>): JsonValue {
  return toJson(schema, message, { alwaysEmitImplicit: true });
}

/** A value as JSON text that is safe on a terminal. `lines`: on one line. */
export function documentText(value: unknown, form: 'document' | 'line' = 'document'): string {
  const text = JSON.stringify(value, null, form === 'document' ? 2 : undefined);
  return text.replace(UNPRINTABLE, (character) =>
    [...Array(character.length).keys()]
      .map((at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`)
      .join(''),
  );
}
