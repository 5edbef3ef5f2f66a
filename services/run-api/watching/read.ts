import { type SqlBool, sql, type Transaction } from 'kysely';
import type { Database } from '#platform/database/tables.ts';

/** How far a reader has come. Advanced by `readOn`. */
export interface Position {
  /** Sequence number of the last event. */
  sequence: number;
  /** Null: no text is wanted. Else the last piece of text. */
  text: { turn: number; attempt: number; start: number } | null;
}

/** What came after a position. */
export interface Piece {
  readonly events: readonly EventRow[];
  readonly text: readonly TextRow[];
  /** True where there is more than one piece holds: read on at once. */
  readonly more: boolean;
  /** True where the run has closed, and this is the last of it. */
  readonly last: boolean;
}

export interface EventRow {
  readonly sequence: number;
  readonly at: Date;
  readonly kind: string;
  readonly turn: number;
  readonly call_id: string | null;
  readonly data: Record<string, unknown>;
}

export interface TextRow {
  readonly turn: number;
  readonly attempt: number;
  readonly start: number;
  readonly text: string;
}

const EVENTS = 200;
const TEXTS = 200;

/** Bytes of one event's JSON. On the wire it takes up to six times as much, and has to fit one message. */
const EVENT_BYTES = 150_000;
/**
 * A change that is longer says its summary and quantities only; GetToolCall has it whole. An event that is too long all
 * the same is left out but for its kind: it must not keep a reader from those after it.
 */
const bounded = sql<Record<string, unknown>>`case
  when octet_length(data::text) <= ${EVENT_BYTES} then data
  when octet_length((data #- '{change,fields}')::text) <= ${EVENT_BYTES} and jsonb_typeof(data #> '{change,fields}') = 'array'
    then jsonb_set(data, '{change,fields}', '[]')
  else jsonb_build_object('left_out', true, 'bytes', octet_length(data::text)) end`;

/** Reads what came after a position, and moves it on. */
export async function readOn(trx: Transaction<Database>, run: string, position: Position): Promise<Piece> {
  const row = await trx
    .selectFrom('agent_runs')
    .select(['event_seq', 'closed_at', 'turns'])
    .where('id', '=', run)
    .executeTakeFirstOrThrow();
  const events = await trx
    .selectFrom('agent_run_events')
    .select(['sequence', 'at', 'kind', 'turn', 'call_id', bounded.as('data')])
    .where('run_id', '=', run)
    .where('sequence', '>', position.sequence)
    .orderBy('sequence')
    .limit(EVENTS)
    .execute();
  position.sequence = events.at(-1)?.sequence ?? position.sequence;
  const more = events.length === EVENTS;
  const text = position.text === null || more ? [] : await readText(trx, run, position.text, row.turns, events);
  return {
    events,
    text,
    more: more || text.length === TEXTS,
    last: row.closed_at !== null && position.sequence >= row.event_seq,
  };
}

/** Text of turns without a stored answer only: a stored one is said by its event, and this text is about to go. */
async function readText(
  trx: Transaction<Database>,
  run: string,
  after: NonNullable<Position['text']>,
  turns: number,
  events: readonly EventRow[],
): Promise<TextRow[]> {
  const answered = events.reduce(
    (most, event) => (event.kind === 'turn.answered' ? Math.max(most, event.turn) : most),
    turns,
  );
  const rows = await trx
    .selectFrom('agent_run_text_deltas as t')
    .select(['turn', 'attempt', 'start', 'text'])
    .where('run_id', '=', run)
    .where('turn', '>', answered)
    // Of a turn's attempts the newest speaks; an older one may still be writing.
    .where(sql<SqlBool>`attempt = (select max(n.attempt) from agent_run_text_deltas n
      where n.run_id = t.run_id and n.turn = t.turn)`)
    .where(sql<SqlBool>`(turn, attempt, start) > (${after.turn}, ${after.attempt}, ${after.start})`)
    .orderBy('turn')
    .orderBy('attempt')
    .orderBy('start')
    .limit(TEXTS)
    .execute();
  const last = rows.at(-1);
  if (last !== undefined) Object.assign(after, { turn: last.turn, attempt: last.attempt, start: last.start });
  return rows;
}
