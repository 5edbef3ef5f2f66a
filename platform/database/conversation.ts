import type { Transaction } from 'kysely';
import { leftOutResult, SHORT_RESULT, summaryShown, wordsLeftOut } from '#domain/context.ts';
import type { AssistantBlock, Message, TextBlock, ToolCallBlock, ToolResultBlock } from '#domain/conversation.ts';
import { LruCache } from '#platform/identity/lru-cache.ts';
import {
  type Conversing,
  earlierSteps,
  inOrder,
  rowsOf,
  type Step,
  type StepRow,
  type StoredMessage,
  type StoredSummary,
  stepsBefore,
  toSteps,
  type UnreadResult,
} from './steps.ts';
import { cutText } from './storable.ts';
import type { Database } from './tables.ts';

/** The longest tool result the model is shown; the whole of it stands with the call. Characters. */
export const SHOWN_RESULT = 16_000;

/** A tool's result as the model sees it: whole, or cut with a handle to the rest. */
export function shownResult(run: string, callId: string, resultJson: string): string {
  if (resultJson.length <= SHOWN_RESULT) return resultJson;
  return `${cutText(resultJson, SHOWN_RESULT)}\n[cut: ${resultJson.length} characters in all; result://${run}/${callId}]`;
}

/** A conversation as its model is shown it, and what it is made of. */
export interface Conversation {
  readonly messages: readonly Message[];
  /** In the order the model knows; without what was summed up. */
  readonly steps: readonly Step[];
}

/** How steps become messages. */
export interface View {
  /** Thinking up to this place was written behind other words than those that stand before it now. */
  readonly prefixFrom: number;
  /** Long results up to this place are left out. */
  readonly handlesThrough: number;
  /** Thinking behind the first of them, up to this place, was written behind it whole. */
  readonly handlesAt: number;
}

/** What was read of a run's own steps, all of them up to its last number, and the messages they make with those before. */
interface Read extends Conversation {
  /** What of the run's row it was made by. */
  readonly key: string;
  /** The number before the first own step that is part of it. */
  readonly floor: number;
  readonly last: number;
  /** When the last one was written, as the database says it. */
  readonly at: string;
  readonly length: number;
}

/** Conversations that this process has read, at most so many runs and so many characters of them. */
const KEPT_RUNS = 500;
const KEPT_LENGTH = 64_000_000;
const kept = new LruCache<string, Read>(KEPT_RUNS, KEPT_LENGTH, (read) => read.length);

/**
 * The conversation of a run so far, in the order the model knows it: the runs it continues, oldest first; in each by
 * turn, results of a turn in call order. Reads the steps that this process has not read before, and the last one that it
 * has: steps are numbered by the run's row, which their transaction holds, and are never changed, so none comes up later
 * below one that was seen. Where what is left out has moved it is read anew, without what is left out.
 */
export async function loadConversation(trx: Transaction<Database>, run: Conversing): Promise<Conversation> {
  const name = `${run.tenant}/${run.id}`;
  const key = JSON.stringify([
    run.earlier_runs,
    run.earlier_steps,
    run.prefix_from,
    run.handles_through,
    run.handles_at,
    run.summarised_through,
  ]);
  const known = kept.get(name);
  let read = known?.key === key ? extended(known, await ownRows(trx, run, known.last), run) : null;
  // New to this process, or not what was read: a database that was set back.
  if (read === null) read = await readAnew(trx, run, key);
  kept.set(name, read);
  return { messages: [...read.messages], steps: read.steps };
}

function ownRows(trx: Transaction<Database>, run: Conversing, from: number): Promise<StepRow[]> {
  return rowsOf(trx, run.id, { from, handles: run.handles_through - stepsBefore(run) });
}

async function readAnew(trx: Transaction<Database>, run: Conversing, key: string): Promise<Read> {
  const earlier = await earlierSteps(trx, run);
  const floor = Math.max(0, run.summarised_through - stepsBefore(run));
  const rows = await ownRows(trx, run, floor + 1);
  const steps = [...earlier, ...toSteps(rows, run.earlier_runs.length, stepsBefore(run))];
  const newest = rows.at(-1);
  return {
    key,
    floor,
    steps,
    messages: messagesOf(steps, viewOf(run)),
    last: newest?.number ?? floor,
    at: newest?.at ?? '',
    length: rows.reduce((sum, row) => sum + row.length, earlier.length === 0 ? 0 : JSON.stringify(earlier).length),
  };
}

/** Null where the first of the rows is not the last that was read. */
function extended(before: Read, rows: readonly StepRow[], run: Conversing): Read | null {
  const [again] = rows;
  const any = before.last > before.floor;
  if (any && (again?.number !== before.last || again.at !== before.at)) return null;
  const unread = any ? rows.slice(1) : rows;
  const newest = unread.at(-1);
  if (!newest) return before;
  const fresh = toSteps(unread, run.earlier_runs.length, stepsBefore(run));
  const [end, first] = [before.steps.at(-1), fresh[0]];
  const follows = end === undefined || first === undefined || inOrder(end, first) < 0;
  const steps = follows ? [...before.steps, ...fresh] : [...before.steps, ...fresh].sort(inOrder);
  const plain = follows && end !== undefined && fresh.every((step) => step.kind !== 'summary');
  return {
    ...before,
    steps,
    messages: plain ? appended(before.messages, end.segment, fresh, viewOf(run)) : messagesOf(steps, viewOf(run)),
    last: newest.number,
    at: newest.at,
    length: unread.reduce((sum, row) => sum + row.length, before.length),
  };
}

/** As a run's row has it. */
export function viewOf(run: Conversing): View {
  return { prefixFrom: run.prefix_from, handlesThrough: run.handles_through, handlesAt: run.handles_at };
}

/** The messages that steps make, behind `front`: the newest summary, unless another is given. */
export function messagesOf(steps: readonly Step[], view: View, front = frontsOf(steps)): readonly Message[] {
  return appended(front, steps[0]?.segment ?? 0, steps, view);
}

function frontsOf(steps: readonly Step[]): readonly Message[] {
  const summary = steps.findLast((step) => step.kind === 'summary')?.content as StoredSummary | undefined;
  return summary === undefined ? [] : [frontOf(summary)];
}

/** What stands for everything that was left out: users' words as they are, and the summary as what it is. */
export function frontOf(summary: Pick<StoredSummary, 'words' | 'wordsLeftOut' | 'text' | 'gap'>): Message {
  const { words, text, gap } = summary;
  const leftOut = summary.wordsLeftOut === 0 ? [] : [wordsLeftOut(summary.wordsLeftOut)];
  const [first = ''] = words;
  const texts = [first, ...leftOut, ...words.slice(1), summaryShown(text, gap)];
  return { role: 'user', content: texts.map((one): TextBlock => ({ type: 'text', text: one })) };
}

/** Messages that were there stay the objects they were, so that what was made of them can be kept beside them. */
function appended(
  before: readonly Message[],
  lastSegment: number,
  steps: readonly Step[],
  view: View,
): readonly Message[] {
  const messages = [...before];
  let segment = lastSegment;
  let leftOut = false;
  for (const step of steps) {
    if (step.segment !== segment) closeCalls(messages);
    segment = step.segment;
    if (step.kind === 'summary') continue;
    if (step.kind === 'model_message') {
      const { content } = step.content as StoredMessage;
      const changed = step.place <= view.prefixFrom || (leftOut && step.place <= view.handlesAt);
      messages.push({ role: 'assistant', content: changed ? withoutThinking(content) : content });
      continue;
    }
    const block = step.kind === 'tool_result' ? toResult(step, view) : toText(step.content);
    leftOut ||= block !== step.content && step.kind === 'tool_result';
    const last = messages.at(-1);
    if (last?.role === 'user') messages[messages.length - 1] = { role: 'user', content: [...last.content, block] };
    else messages.push({ role: 'user', content: [block] });
  }
  return messages;
}

function withoutThinking(content: readonly AssistantBlock[]): readonly AssistantBlock[] {
  return content.filter((block) => block.type !== 'thinking');
}

function toResult(step: Step, view: View): ToolResultBlock {
  const result = step.content as ToolResultBlock | UnreadResult;
  const left =
    'unread' in result ? result.unread : step.place <= view.handlesThrough ? Buffer.byteLength(result.text) : 0;
  if (!('unread' in result) && left <= SHORT_RESULT) return result;
  const { callId, providerId, isError } = result;
  return { type: 'tool_result', callId, providerId, text: leftOutResult(left), isError };
}

const UNANSWERED = JSON.stringify({
  error: {
    code: 'CANCELLED',
    message:
      'The run ended before this call was answered. It may have taken effect or not: look before you do it again.',
  },
});

/** Answers the calls that a run left open when it ended: providers take no call without its result. */
export function closeCalls(messages: Message[]): void {
  const at = messages.findLastIndex((message) => message.role === 'assistant');
  const calls = (messages[at]?.content ?? []).filter((block): block is ToolCallBlock => block.type === 'tool_call');
  if (calls.length === 0) return;
  const after = (messages[at + 1]?.content ?? []) as readonly (TextBlock | ToolResultBlock)[];
  const results = calls.map((call): ToolResultBlock => {
    const known = after.find((block) => block.type === 'tool_result' && block.callId === call.callId);
    if (known?.type === 'tool_result') return known;
    return { type: 'tool_result', callId: call.callId, providerId: call.providerId, text: UNANSWERED, isError: true };
  });
  const words = after.filter((block) => block.type === 'text');
  messages.splice(at + 1, messages.length, { role: 'user', content: [...results, ...words] });
}

function toText(content: unknown): TextBlock {
  return { type: 'text', text: String((content as { text?: unknown }).text ?? '') };
}
