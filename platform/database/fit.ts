import { firstThatFits, keepWords, type Marks, SUMMARY_REQUEST, summaryTokens } from '#domain/context.ts';
import type { Message } from '#domain/conversation.ts';
import type { SummaryCut } from '#domain/ports/run-store.ts';
import { type Conversation, closeCalls, frontOf, messagesOf, type View, viewOf } from './conversation.ts';
import type { RunRow } from './run-row.ts';
import { type Step, type StoredSummary, stepsBefore } from './steps.ts';
import { cutText } from './storable.ts';

export type Fitted =
  /** `handlesThrough`: where long results are left out from now on; null: as before. */
  | { readonly kind: 'fits'; readonly messages: readonly Message[]; readonly handlesThrough: number | null }
  /** A model is to be asked for a summary first. `messages`: what it is asked with. */
  | {
      readonly kind: 'summarise';
      readonly messages: readonly Message[];
      readonly cut: SummaryCut;
      readonly output: number;
    }
  /** What stands up to the cut is to be left out without a summary. */
  | { readonly kind: 'drop'; readonly cut: SummaryCut }
  | { readonly kind: 'too_long'; readonly tokens: number };

export interface FitOptions {
  readonly marks: Marks;
  /** Upper bound of the tokens of a prompt with these messages. */
  readonly tokensOf: (messages: readonly Message[]) => number;
  /** Adds what is said to the run with this turn. */
  readonly withSaid: (messages: readonly Message[]) => readonly Message[];
  /** None was made for this turn yet. */
  readonly mayShorten: boolean;
  /** A model may be asked for it. */
  readonly mayAsk: boolean;
  readonly maxOutputTokens: number;
}

/**
 * Fits a conversation into its window: as it is while it is within the high mark; else with the oldest long results left
 * out, where that brings it to the low mark; else with everything old summed up. What the model has not seen yet stays,
 * unless nothing else helps.
 */
export function fitConversation(talk: Conversation, run: RunRow, options: FitOptions): Fitted {
  const { marks, tokensOf, withSaid } = options;
  const messages = withSaid(talk.messages);
  const tokens = tokensOf(messages);
  if (tokens <= marks.high) return { kind: 'fits', messages, handlesThrough: null };
  const end = stepsBefore(run) + run.step_seq;
  const leavingOut = (through: number): readonly Message[] =>
    withSaid(messagesOf(talk.steps, { ...viewOf(run), handlesThrough: through, handlesAt: end }));
  const cuts = cutsOf(talk.steps);
  const further = cuts.filter((cut) => cut > run.handles_through);
  const handles = firstThatFits(further, (cut) => tokensOf(leavingOut(cut)), marks.low);
  if (handles !== null) return { kind: 'fits', messages: leavingOut(handles), handlesThrough: handles };
  if (options.mayShorten && cuts.length > 0) return shorten(talk, run, options, cuts, end);
  for (const through of [cuts.at(-1) ?? 0, end]) {
    const last = leavingOut(Math.max(through, run.handles_through));
    // Never back: what was left out once stays out.
    const handlesThrough = through > run.handles_through ? through : null;
    if (tokensOf(last) <= marks.most) return { kind: 'fits', messages: last, handlesThrough };
  }
  return tokens <= marks.most ? { kind: 'fits', messages, handlesThrough: null } : { kind: 'too_long', tokens };
}

function shorten(
  talk: Conversation,
  run: RunRow,
  { marks, tokensOf, withSaid, mayAsk, maxOutputTokens }: FitOptions,
  cuts: readonly number[],
  end: number,
): Fitted {
  const output = summaryTokens(marks, maxOutputTokens);
  // A word and the space after it: what a token of a summary comes to.
  const text = 'summary '.repeat(output);
  const after: View = { ...viewOf(run), prefixFrom: end };
  const remaining = (through: number): number => {
    const front = frontOf({ ...cutOf(talk.steps, through, marks), text, gap: false });
    const kept = talk.steps.filter((step) => step.place > through && step.kind !== 'summary');
    return tokensOf(withSaid(messagesOf(kept, after, [front])));
  };
  const through = firstThatFits(cuts, remaining, marks.low) ?? (cuts.at(-1) as number);
  const cut = cutOf(talk.steps, through, marks);
  // As it was sent before, so that the provider has it cached.
  const upToIt = talk.steps.filter((step) => step.kind === 'summary' || step.place <= through);
  const old = [...messagesOf(upToIt, viewOf(run))];
  closeCalls(old);
  const ask = asking(old);
  return mayAsk && tokensOf(ask) <= marks.most
    ? { kind: 'summarise', messages: ask, cut, output }
    : { kind: 'drop', cut };
}

function asking(messages: readonly Message[]): readonly Message[] {
  const text = { type: 'text', text: SUMMARY_REQUEST } as const;
  const last = messages.at(-1);
  return last?.role === 'user'
    ? [...messages.slice(0, -1), { role: 'user', content: [...last.content, text] }]
    : [...messages, { role: 'user', content: [text] }];
}

function cutOf(steps: readonly Step[], through: number, marks: Marks): SummaryCut {
  const before = steps.findLast((step) => step.kind === 'summary')?.content as StoredSummary | undefined;
  const said = steps
    .filter((step) => step.kind === 'user_message' && step.place <= through)
    .map((step) => String((step.content as { text?: unknown }).text ?? ''));
  // A byte is a token at most.
  const room = Math.floor(marks.low / 3);
  const kept = keepWords([...(before?.words ?? []), ...said], room, (text) => Buffer.byteLength(text), cutToBytes);
  return {
    through,
    words: kept.words,
    wordsLeftOut: kept.leftOut + (before?.wordsLeftOut ?? 0),
    earlier: before?.text ?? null,
  };
}

function cutToBytes(text: string, bytes: number): string {
  const whole = Buffer.from(text)
    .subarray(0, Math.floor(bytes))
    .toString()
    .replace(/\uFFFD+$/, '');
  return cutText(whole, whole.length);
}

/** Places between turns at which a conversation may be cut: all but the one behind the newest turn. */
function cutsOf(steps: readonly Step[]): number[] {
  const cuts: number[] = [];
  let place = 0;
  for (const [at, step] of steps.entries()) {
    place = Math.max(place, step.place);
    const next = steps[at + 1];
    if (next !== undefined && (next.segment !== step.segment || next.turn !== step.turn)) cuts.push(place);
  }
  return cuts;
}
