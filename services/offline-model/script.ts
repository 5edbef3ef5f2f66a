import type { ConversationView } from './conversation.ts';

/** A script has no answer for where the conversation stands, or a helper did not find what it was asked for. */
export class ScriptError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'ScriptError';
  }
}

/** One tool call of an answer. */
export interface ScriptedCall {
  readonly tool: string;
  readonly args?: Readonly<Record<string, unknown>>;
  /** Sent in place of `args`, as it stands: for arguments that are no JSON. */
  readonly rawArgs?: string;
}

/** How fast an answer is streamed, in milliseconds. At most one minute in all. */
export interface Pace {
  /** Before the first piece, on top of the server's own delay. */
  readonly firstMs?: number;
  /** Between two pieces. */
  readonly everyMs?: number;
}

/**
 * Something that goes wrong with an answer. It shows on the first `attempts` tries of the same request (1 unless said;
 * `always` for every one), after which the answer is given. `afterPieces` counts the pieces of the stream before it.
 */
export type Fault = { readonly attempts?: number | 'always' } & (
  | {
      /** An HTTP error in Anthropic's format. */
      readonly kind: 'status';
      readonly status: number;
      readonly type?: string;
      readonly message?: string;
      /** The `retry-after` header: seconds, or an HTTP date. */
      readonly retryAfter?: number | string;
    }
  /** The answer breaks off: the connection dies, or with `clean`, ends as if all had been said. */
  | { readonly kind: 'cut'; readonly afterPieces?: number; readonly clean?: boolean }
  /** An `error` event within the stream. */
  | { readonly kind: 'error-event'; readonly type: string; readonly afterPieces?: number }
  /** Silence: before the headers, or within the stream after `afterPieces`. */
  | { readonly kind: 'hang'; readonly afterPieces?: number }
  /** Answers with nothing in it. */
  | { readonly kind: 'empty' }
);

/** What the model says at one point: thinking, then text, then calls. */
export interface ScriptedAnswer {
  readonly thinking?: string;
  /** Thinking that arrives sealed, as a `redacted_thinking` block. */
  readonly redactedThinking?: string;
  readonly text?: string;
  readonly calls?: readonly ScriptedCall[];
  /** Default: `tool_use` with calls, else `end_turn`; `max_tokens` where the answer did not fit. */
  readonly stop?: 'end_turn' | 'tool_use' | 'refusal' | 'pause_turn' | 'max_tokens';
  readonly pace?: Pace;
  readonly fault?: Fault;
}

/** A pure function of the conversation: the server keeps no state of it, so a repeat or a restart changes nothing. */
export type AnswerFunction = (view: ConversationView) => ScriptedAnswer;

/** A script: who it answers, and what. Give either `answer`, or `turns`, one function per assistant turn. */
export interface Script {
  /** Lower case, digits and hyphens. Conversations choose it with a line `script: <name>`. */
  readonly name: string;
  /** Claims conversations that name no script. Two claims of one conversation are an error. */
  readonly match?: (view: ConversationView) => boolean;
  readonly answer?: AnswerFunction;
  readonly turns?: readonly AnswerFunction[];
}

const NAME = /^[a-z0-9]+(-[a-z0-9]+)*$/;

/** Checks a script and returns it. Throws ScriptError, naming what is wrong. */
export function defineScript(script: Script): Script {
  if (!NAME.test(script.name)) throw new ScriptError(`script name "${script.name}" is not lower case with hyphens`);
  if ((script.answer === undefined) === (script.turns === undefined)) {
    throw new ScriptError(`script "${script.name}" needs either "answer" or "turns"`);
  }
  return script;
}

/** What the script says now. Throws ScriptError where it has nothing to say. */
export function play(script: Script, view: ConversationView): ScriptedAnswer {
  const answer = script.answer ?? script.turns?.[view.turn];
  if (answer !== undefined) return answer(view);
  throw new ScriptError(`it has ${script.turns?.length ?? 0} turns and this is one more`);
}
