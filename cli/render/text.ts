/**
 * Text from elsewhere (a model, a catalog, a person) made safe to print: it can neither steer the terminal nor look
 * like something it is not. Everything that is printed and was not written by us goes through `visible`.
 */

// A variation selector that only asks for the coloured form of the emoji before it is kept.
const HIDDEN = /(?<=\p{Extended_Pictographic})\uFE0F|([\p{Cc}\p{DI}\p{Bidi_C}\p{Zl}\p{Zp}\p{Cs}\uFFF9-\uFFFB])/gu;

const WIDE =
  /[\u1100-\u115F\u2E80-\u303E\u3041-\uA4CF\uA960-\uA97C\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE6F\uFF01-\uFF60\uFFE0-\uFFE6\u{1F1E6}-\u{1F1FF}\u{20000}-\u{3FFFD}]|\p{Emoji_Presentation}|\p{Extended_Pictographic}\uFE0F/u;
const ASCII = /^[\x20-\x7e]*$/;
const MARKS = /^\p{M}+$/u;

const segmenter = new Intl.Segmenter('en', { granularity: 'grapheme' });

/**
 * The text on one line, with nothing hidden in it: control characters (ANSI escapes, line ends and tabs too) become
 * their pictures, bidirectional controls and zero-width characters their code points, as in `<U+202E>`.
 */
export function visible(text: string): string {
  if (ASCII.test(text)) return text;
  return text.replace(HIDDEN, (match: string, hidden: string | undefined) => {
    if (hidden === undefined) return match;
    const code = hidden.codePointAt(0) ?? 0;
    if (code < 0x20) return String.fromCodePoint(0x2400 + code);
    if (code === 0x7f) return '\u2421';
    return `<U+${code.toString(16).toUpperCase().padStart(4, '0')}>`;
  });
}

/** Prose on one line: runs of white space become one space, the rest is made visible. */
export function oneLine(text: string): string {
  return visible(text.replace(/\s+/g, ' ').trim());
}

/** The lines of a text, each made visible. */
export function visibleLines(text: string): readonly string[] {
  return text.split('\n').map(visible);
}

/** Columns a text takes on a terminal. Give it visible text, without colours. */
export function displayWidth(text: string): number {
  if (ASCII.test(text)) return text.length;
  let width = 0;
  for (const { segment } of segmenter.segment(text)) width += graphemeWidth(segment);
  return width;
}

function graphemeWidth(grapheme: string): number {
  if (MARKS.test(grapheme)) return 0;
  return WIDE.test(grapheme) ? 2 : 1;
}

/** The text cut to `width` columns, with an ellipsis where something was cut. */
export function truncate(text: string, width: number): string {
  if (displayWidth(text) <= width) return text;
  let kept = '';
  let used = 1;
  for (const { segment } of segmenter.segment(text)) {
    used += graphemeWidth(segment);
    if (used > width) break;
    kept += segment;
  }
  return width < 1 ? '' : `${kept}…`;
}

/** Breaks a text into lines of at most `width` columns, after a space where one is near. Drops no character. */
export function wrap(text: string, width: number): readonly string[] {
  if (displayWidth(text) <= width) return [text];
  const room = Math.max(10, width);
  const lines: string[] = [];
  let line = '';
  let used = 0;
  for (const { segment } of segmenter.segment(text)) {
    const columns = graphemeWidth(segment);
    if (used + columns > room) {
      const space = line.lastIndexOf(' ');
      const cut = space > line.length / 2 ? space + 1 : line.length;
      lines.push(line.slice(0, cut));
      line = line.slice(cut);
      used = displayWidth(line);
    }
    line += segment;
    used += columns;
  }
  lines.push(line);
  return lines;
}

/** Pads with spaces to `width` columns. Longer text stays as it is. */
export function padEnd(text: string, width: number): string {
  return text + ' '.repeat(Math.max(0, width - displayWidth(text)));
}

/** As `padEnd`, on the left. */
export function padStart(text: string, width: number): string {
  return ' '.repeat(Math.max(0, width - displayWidth(text))) + text;
}

/** `3 runs`, `1 run`. */
export function count(n: number | bigint, one: string, many = `${one}s`): string {
  return `${group(n)} ${Number(n) === 1 ? one : many}`;
}

/** A whole number with separators: `1,234,567`. */
export function group(n: number | bigint): string {
  return String(n).replace(/\B(?=(?:\d{3})+$)/g, ',');
}
