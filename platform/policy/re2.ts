import { RE2JS } from 're2js';

/** What Ajv asks of a compiled pattern. */
interface Pattern {
  test(text: string): boolean;
  exec(text: string): [string] | null;
  toString(): string;
}

const LONGEST_PATTERN = 1_000;
const LARGEST_PROGRAM = 5_000;
/** Longer text matches no pattern: matching takes time in proportion to text times pattern. */
export const LONGEST_MATCHED_TEXT = 16_384;

/**
 * Compiles a pattern of ECMAScript syntax for matching in linear time, whatever pattern and text. Throws SyntaxError for
 * one that RE2 does not have (look-around, back references) or that is too large.
 */
export function linearPattern(pattern: string): Pattern {
  if (pattern.length > LONGEST_PATTERN) throw new SyntaxError(`longer than ${LONGEST_PATTERN} characters`);
  let compiled: RE2JS;
  try {
    compiled = RE2JS.compile(RE2JS.translateRegExp(pattern));
  } catch (cause) {
    throw new SyntaxError(cause instanceof Error ? cause.message : String(cause), { cause });
  }
  if (compiled.programSize() > LARGEST_PROGRAM) throw new SyntaxError('it unfolds to too many steps');
  const test = (text: string): boolean => text.length <= LONGEST_MATCHED_TEXT && compiled.matcher(text).find();
  return {
    test,
    exec: (text) => (test(text) ? [text] : null),
    // Ajv keeps compiled patterns by this text: without it, the first pattern of a schema would stand for all.
    toString: () => `re2:${pattern}`,
  };
}

/** The pattern engine as Ajv takes it. */
export const re2Engine = Object.assign((pattern: string): Pattern => linearPattern(pattern), { code: 're2Engine' });
