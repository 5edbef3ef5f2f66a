/**
 * Fitting a conversation into the window of its model. Cut points move in big hops: what is sent is shortened to `low`
 * once it has grown past `high`, so that the prefix a provider has cached stays the same for many turns.
 */

/** Tokens of prompts, upper bounds all. */
export interface Marks {
  /** Longer prompts are not sent. */
  readonly most: number;
  /** Longer ones are shortened. */
  readonly high: number;
  /** As short as they become. */
  readonly low: number;
}

/** The marks of a window of `contextTokens` for prompt and answer together. */
export function marksOf(contextTokens: number, maxOutputTokens: number): Marks {
  const most = Math.max(0, contextTokens - maxOutputTokens);
  return { most, high: Math.floor(most * 0.85), low: Math.floor(most * 0.6) };
}

/**
 * The first of the ascending `cuts` for which no more than `low` tokens remain; null where none does. `tokensAt` must not
 * grow with the cut; it is asked about few of them.
 */
export function firstThatFits(cuts: readonly number[], tokensAt: (cut: number) => number, low: number): number | null {
  let [from, to] = [0, cuts.length];
  while (from < to) {
    const middle = (from + to) >> 1;
    const cut = cuts[middle];
    if (cut !== undefined && tokensAt(cut) <= low) to = middle;
    else from = middle + 1;
  }
  return cuts[from] ?? null;
}

/** Tool results of at most so many bytes are never left out: naming them takes as much room. */
export const SHORT_RESULT = 400;

/** What stands for a tool result that was left out. */
export function leftOutResult(bytes: number): string {
  return (
    `[This result of ${bytes} bytes was shown to you when the call was made and is left out now to save room. ` +
    'Where you need it again, look it up with a tool that only reads.]'
  );
}
