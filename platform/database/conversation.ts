import { sql, type Transaction } from 'kysely';
import type { AssistantBlock, Message, ModelStop, TextBlock, ToolResultBlock } from '#domain/conversation.ts';
import type { RunRef } from '#domain/ports/run-store.ts';
import { LruCache } from '#platform/identity/lru-cache.ts';
import { cutText } from './storable.ts';
import type { Database } from './tables.ts';

/** Content of a `model_message` step. */
export interface StoredMessage {
  readonly content: readonly AssistantBlock[];
  readonly stop: ModelStop;
  /** The attempt whose message this is. */
  readonly attempt: string;
}

/** The longest tool result the model is shown; the whole of it stands with the call. Characters. */
export const SHOWN_RESULT = 16_000;

/** A tool's result as the model sees it: whole, or cut with a handle to the rest. */
export function shownResult(run: string, callId: string, resultJson: string): string {
  if (resultJson.length <= SHOWN_RESULT) return resultJson;
  return `${cutText(resultJson, SHOWN_RESULT)}\n[cut: ${resultJson.length} characters in all; result://${run}/${callId}]`;
}

/** Steps of conversations that this process has read, at most so many runs and so many characters of them. */
const KEPT_RUNS = 500;
const KEPT_LENGTH = 64_000_000;
const kept = new LruCache<string, Read>(KEPT_RUNS, KEPT_LENGTH, (read) => read.length);

interface Step {
  readonly kind: 'user_message' | 'model_message' | 'tool_result';
  readonly turn: number;
  readonly ordinal: number;
  readonly number: number;
  readonly content: unknown;
}

/** What was read of a run's steps, all of them up to its last number, and the messages they make. */
interface Read {
  readonly steps: readonly Step[];
  readonly messages: readonly Message[];
  readonly last: number;
  /** When the last one was written, as the database says it. */
  readonly at: string;
  readonly length: number;
}

const NOTHING: Read = { steps: [], messages: [], last: 0, at: '', length: 0 };

/**
 * The conversation of a run so far, in the order the model knows it: by turn, results of a turn in call order. Reads the
 * steps that this process has not read before, and the last one that it has: steps are numbered by the run's row, which
 * their transaction holds, and are never changed, so none comes up later below one that was seen.
 */
export async function loadConversation(trx: Transaction<Database>, ref: RunRef): Promise<Message[]> {
  const name = `${ref.tenant}/${ref.run}`;
  const before = kept.get(name) ?? NOTHING;
  let read = extended(before, await stepsFrom(trx, ref.run, before.last));
  // Not what was read: a database that was set back.
  if (read === null) read = extended(NOTHING, await stepsFrom(trx, ref.run, 0)) ?? NOTHING;
  kept.set(name, read);
  return [...read.messages];
}

function stepsFrom(trx: Transaction<Database>, run: string, number: number) {
  return trx
    .selectFrom('agent_run_steps')
    .select(['kind', 'turn', 'ordinal', 'number', 'content'])
    .select([sql<string>`created_at::text`.as('at'), sql<number>`length(content::text)`.as('length')])
    .where('run_id', '=', run)
    .where('number', '>=', number)
    .orderBy('number')
    .execute();
}

type Row = Awaited<ReturnType<typeof stepsFrom>>[number];

/** Null where the first of the rows is not the last that was read. */
function extended(before: Read, rows: readonly Row[]): Read | null {
  const [again] = rows;
  if (before.last > 0 && (again?.number !== before.last || again.at !== before.at)) return null;
  const unread = before.last > 0 ? rows.slice(1) : rows;
  const newest = unread.at(-1);
  if (!newest) return before;
  const fresh = unread.filter((row): row is Row & Step => row.kind !== 'note').sort(inOrder);
  const [end, first] = [before.steps.at(-1), fresh[0]];
  const follows = end === undefined || first === undefined || inOrder(end, first) < 0;
  const steps = follows ? [...before.steps, ...fresh] : [...before.steps, ...fresh].sort(inOrder);
  return {
    steps,
    messages: follows ? appended(before.messages, fresh) : appended([], steps),
    last: newest.number,
    at: newest.at,
    length: unread.reduce((sum, row) => sum + row.length, before.length),
  };
}

const RANK = { user_message: 0, model_message: 1, tool_result: 2 } as const;

function inOrder(a: Step, b: Step): number {
  return a.turn - b.turn || RANK[a.kind] - RANK[b.kind] || a.ordinal - b.ordinal || a.number - b.number;
}

/** Messages that were there stay the objects they were, so that what was made of them can be kept beside them. */
function appended(before: readonly Message[], steps: readonly Step[]): readonly Message[] {
  const messages = [...before];
  for (const step of steps) {
    if (step.kind === 'model_message') {
      messages.push({ role: 'assistant', content: (step.content as StoredMessage).content });
      continue;
    }
    const block = step.kind === 'tool_result' ? (step.content as ToolResultBlock) : toText(step.content);
    const last = messages.at(-1);
    if (last?.role === 'user') messages[messages.length - 1] = { role: 'user', content: [...last.content, block] };
    else messages.push({ role: 'user', content: [block] });
  }
  return messages;
}

function toText(content: unknown): TextBlock {
  return { type: 'text', text: String((content as { text?: unknown }).text ?? '') };
}
