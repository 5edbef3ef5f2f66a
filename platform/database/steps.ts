import { sql, type Transaction } from 'kysely';
import { SHORT_RESULT } from '#domain/context.ts';
import type { AssistantBlock, ModelStop } from '#domain/conversation.ts';
import type { RunRow } from './run-row.ts';
import type { Database } from './tables.ts';

/** Content of a `model_message` step. */
export interface StoredMessage {
  readonly content: readonly AssistantBlock[];
  readonly stop: ModelStop;
  /** The attempt whose message this is. */
  readonly attempt: string;
}

/** Content of a `summary` step: what stands in the place of everything up to `through`. */
export interface StoredSummary {
  readonly through: number;
  /** What a model made of it; null where none did. */
  readonly text: string | null;
  /** True where the newer part of it was left out without, and `text` is what an earlier summary said. */
  readonly gap: boolean;
  /** What users said up to there, as they said it; what had no room is counted. */
  readonly words: readonly string[];
  readonly wordsLeftOut: number;
  /** The attempt whose summary this is; null where none was asked for. */
  readonly attempt: string | null;
}

/** One step of a conversation. */
export interface Step {
  readonly kind: 'user_message' | 'model_message' | 'tool_result' | 'summary';
  /** Which run of the conversation it is of, from 0. */
  readonly segment: number;
  readonly turn: number;
  readonly ordinal: number;
  /** Its place in the conversation. */
  readonly place: number;
  readonly content: unknown;
}

/** A tool result whose text was not read. */
export interface UnreadResult {
  readonly callId: string;
  readonly providerId: string;
  readonly isError: boolean;
  /** Bytes of its text. */
  readonly unread: number;
}

/** The row of a run as far as its conversation goes. */
export type Conversing = Pick<
  RunRow,
  | 'tenant'
  | 'id'
  | 'earlier_runs'
  | 'earlier_steps'
  | 'prefix_from'
  | 'handles_through'
  | 'handles_at'
  | 'summarised_through'
>;

/** Steps of the runs before a run's own. */
export function stepsBefore(run: Pick<Conversing, 'earlier_steps'>): number {
  return run.earlier_steps.reduce((sum, steps) => sum + steps, 0);
}

/** The steps of the runs that a run continues, as far as they are part of its conversation and not summed up. */
export async function earlierSteps(trx: Transaction<Database>, run: Conversing): Promise<Step[]> {
  const found: Step[] = [];
  let before = 0;
  for (const [segment, id] of run.earlier_runs.entries()) {
    const steps = run.earlier_steps[segment] ?? 0;
    const from = Math.max(0, run.summarised_through - before);
    if (from < steps) {
      const rows = await rowsOf(trx, id, { from: from + 1, upTo: steps, handles: run.handles_through - before });
      found.push(...toSteps(rows, segment, before));
    }
    before += steps;
  }
  return found;
}

/** A run's own steps from a number on, with when each was written. */
export function rowsOf(
  trx: Transaction<Database>,
  run: string,
  part: { readonly from: number; readonly upTo?: number; readonly handles: number },
) {
  // The text of a result that is left out stays where it is.
  const content = sql<unknown>`case when kind = 'tool_result' and number <= ${part.handles}
    and octet_length(content->>'text') > ${SHORT_RESULT} then json_build_object('callId', content->>'callId',
    'providerId', content->>'providerId', 'isError', content->'isError', 'unread', octet_length(content->>'text'))
    else content end`;
  let query = trx
    .selectFrom('agent_run_steps')
    .select(['kind', 'turn', 'ordinal', 'number', content.as('content')])
    .select([sql<string>`created_at::text`.as('at'), sql<number>`length(content::text)`.as('length')])
    .where('run_id', '=', run)
    .where('number', '>=', part.from)
    .orderBy('number');
  if (part.upTo !== undefined) query = query.where('number', '<=', part.upTo);
  return query.execute();
}

export type StepRow = Awaited<ReturnType<typeof rowsOf>>[number];

/** The rows of one run as steps of the conversation, in the order the model knows. */
export function toSteps(rows: readonly StepRow[], segment: number, before: number): Step[] {
  return rows
    .flatMap(({ kind, turn, ordinal, number, content }): Step[] =>
      kind === 'note' ? [] : [{ kind, segment, turn, ordinal, place: before + number, content }],
    )
    .sort(inOrder);
}

const RANK = { summary: 0, user_message: 1, model_message: 2, tool_result: 3 } as const;

/** By run, by turn, and within a turn as things come about; results in call order. */
export function inOrder(a: Step, b: Step): number {
  return (
    a.segment - b.segment ||
    a.turn - b.turn ||
    RANK[a.kind] - RANK[b.kind] ||
    a.ordinal - b.ordinal ||
    a.place - b.place
  );
}
