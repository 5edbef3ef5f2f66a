// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be in a line.
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/g;

/** Foreign text as one line that Postgres and terminals take: no control characters, no half surrogate pairs. */
export function plainText(text: string, max: number): string {
  return text.replace(CONTROL, ' ').toWellFormed().slice(0, max).toWellFormed();
}
