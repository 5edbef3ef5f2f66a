/**
 * Text and JSON from models, catalogs and people, as Postgres takes it. A text column refuses NUL, and jsonb refuses NUL
 * and half surrogate pairs: such characters become U+FFFD, so that nothing said can keep a row from being written.
 */

/** For text columns. As long as before. */
export function storableText(text: string): string {
  return text.replaceAll('\u0000', '\ufffd').toWellFormed();
}

/** JSON text of `value`, for jsonb columns. A json column takes plain JSON text. */
export function storableJson(value: unknown): string {
  // Whole escapes are matched, so that an escaped backslash before a `u` is left alone.
  return JSON.stringify(value).replace(/\\(u0000|ud[89a-f][0-9a-f]{2}|.)/g, (whole, what: string) =>
    what.length === 1 ? whole : '\\ufffd',
  );
}

/** The first `length` characters at most, without half a surrogate pair at the end. */
export function cutText(text: string, length: number): string {
  if (text.length <= length) return text;
  const last = text.charCodeAt(length - 1);
  return text.slice(0, last >= 0xd800 && last <= 0xdbff ? length - 1 : length);
}
