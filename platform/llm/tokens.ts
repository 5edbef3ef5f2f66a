/** Letters in a row beyond which a run is data rather than a word of any language written in ASCII. */
const LONGEST_WORD = 20;

/**
 * An upper bound of the tokens of `text`, without a tokenizer (Anthropic publishes none).
 *
 * The tokenizers in question work on UTF-8 bytes, so one token per byte can never be exceeded. For running text that is
 * four times too much, and money is reserved on this figure; so letters count half: words of ASCII letters, with the
 * space before them, average three to five letters per token. Everything of which a tokenizer may make one token per
 * byte stays at one: digits, punctuation, white space, capitals that do not begin a word, letters in runs longer than
 * any word (base64, hashes), and every byte of every other script. English comes out at 1.8 bytes per token, JSON at
 * 1.4, Cyrillic at 1. Words invented to tokenize badly could still exceed it; such a call shows as overage.
 */
export function tokenUpperBound(text: string): number {
  let tokens = 0;
  let run = 0;
  const endRun = (): void => {
    tokens += run > LONGEST_WORD ? run : Math.ceil(run / 2);
    run = 0;
  };
  for (let i = 0; i < text.length; i += 1) {
    const code = text.charCodeAt(i);
    if (isLower(code)) {
      run += 1;
    } else if (isUpper(code) && run <= 1 && isLower(text.charCodeAt(i + 1))) {
      if (run === 1 && text.charCodeAt(i - 1) !== SPACE) endRun();
      run += 1;
    } else if (code === SPACE && isLetter(text.charCodeAt(i + 1))) {
      endRun();
      run = 1;
    } else {
      endRun();
      tokens += utf8Length(code);
    }
  }
  endRun();
  return tokens;
}

const SPACE = 0x20;

function isLower(code: number): boolean {
  return code >= 0x61 && code <= 0x7a;
}

function isUpper(code: number): boolean {
  return code >= 0x41 && code <= 0x5a;
}

function isLetter(code: number): boolean {
  return isLower(code) || isUpper(code);
}

/** Bytes of one UTF-16 unit: a surrogate is half of a four-byte character. */
function utf8Length(code: number): number {
  if (code < 0x80) return 1;
  if (code < 0x800) return 2;
  return code >= 0xd800 && code <= 0xdfff ? 2 : 3;
}

/**
 * Bounds of messages by `boundOf`. Kept beside each message: a conversation grows at its end, and all of it is estimated
 * at every turn.
 */
export function remembered<Message extends object>(
  boundOf: (message: Message) => number,
): (message: Message) => number {
  const bounds = new WeakMap<Message, number>();
  return (message) => {
    const known = bounds.get(message);
    if (known !== undefined) return known;
    const bound = boundOf(message);
    bounds.set(message, bound);
    return bound;
  };
}
