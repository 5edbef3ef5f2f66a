import { type Kysely, sql, type Transaction } from 'kysely';
import type { RunRef } from '#domain/ports/run-store.ts';
import type { RunFacts, TracedApproval, TracedAttempt, TracedCall, TracedRun } from '#platform/telemetry/run-facts.ts';
import { runCost } from './ledger.ts';
import type { Database } from './tables.ts';
import { withTenant } from './tenant.ts';

/** How long one worker has a run's spans to itself, in milliseconds: longer than handing them over may take. */
const HELD_MS = 60_000;
/** Turns told of at once. */
const MOST_TURNS = 50;

/** What of a run is to be told now, and what it is up to. */
export interface Untold {
  readonly facts: RunFacts;
  readonly from: number;
  readonly through: number;
  /** True where nothing is left to tell after it. */
  readonly last: boolean;
}

/** How far the spans of runs have been handed over, in Postgres. */
export interface TraceStore {
  /** Makes sure that the run is known to have spans to tell, however its worker may end. */
  expect(ref: RunRef): Promise<void>;
  /** Takes what is to be told, for this worker alone for a minute; null where there is nothing, or another has it. */
  take(ref: RunRef): Promise<Untold | null>;
  /** What was taken has been told; `finished`: there is no more to tell. False where another has told it meanwhile. */
  told(ref: RunRef, untold: Pick<Untold, 'from' | 'through'>, finished: boolean): Promise<boolean>;
  /** What was taken has not been told: others may try in `waitMs`. */
  release(ref: RunRef, waitMs: number): Promise<void>;
  /** Closed runs whose spans nobody has told yet, `limit` at most. */
  overdue(
    tenant: string,
    closedBefore: Date,
    limit: number,
  ): Promise<{ readonly run: string; readonly closedAt: Date }[]>;
}

/** Traces in Postgres. */
export function createTraceStore(db: Kysely<Database>): TraceStore {
  return {
    async expect(ref) {
      await withTenant(db, ref.tenant, (trx) =>
        trx
          .insertInto('run_traces')
          .values({ tenant: ref.tenant, run_id: ref.run })
          .onConflict((conflict) => conflict.doNothing())
          .execute(),
      );
    },

    take: (ref) =>
      withTenant(db, ref.tenant, async (trx) => {
        const from = await hold(trx, ref);
        if (from === null) return null;
        const run = await readTraced(trx, ref);
        // A turn is over once the next one was answered, and so is everything of it.
        const to = run.closedAt === null ? run.turns - 1 : run.turns + 1;
        const through = Math.min(to, from + MOST_TURNS);
        const last = run.closedAt !== null && through === to;
        if (through <= from && !last) {
          await letGo(trx, ref, 0);
          return null;
        }
        const turns = { from, through };
        const facts = {
          // Its own span comes with the last ones.
          run: last ? run : { ...run, closedAt: null },
          attempts: await readAttempts(trx, ref, turns),
          calls: await readCalls(trx, ref, turns),
          approvals: await readApprovals(trx, ref, turns),
        };
        return { facts, from, through, last };
      }),

    async told(ref, { from, through }, finished) {
      const { numUpdatedRows } = await withTenant(db, ref.tenant, (trx) =>
        trx
          .updateTable('run_traces')
          .set({ through_turn: through, finished, held_until: null })
          .where('run_id', '=', ref.run)
          .where('through_turn', '=', from)
          .where('finished', '=', false)
          .executeTakeFirstOrThrow(),
      );
      return numUpdatedRows === 1n;
    },

    async release(ref, waitMs) {
      await withTenant(db, ref.tenant, (trx) => letGo(trx, ref, waitMs));
    },

    overdue: (tenant, closedBefore, limit) =>
      withTenant(db, tenant, async (trx) => {
        const rows = await trx
          .selectFrom('run_traces as t')
          .innerJoin('agent_runs as r', (join) =>
            join.onRef('r.id', '=', 't.run_id').onRef('r.tenant', '=', 't.tenant'),
          )
          .select(['t.run_id', 'r.closed_at'])
          .where('t.finished', '=', false)
          .where((eb) => eb.or([eb('t.held_until', 'is', null), eb('t.held_until', '<', sql<Date>`now()`)]))
          .where('r.closed_at', '<', closedBefore)
          .limit(limit)
          .execute();
        return rows.flatMap((row) => (row.closed_at === null ? [] : [{ run: row.run_id, closedAt: row.closed_at }]));
      }),
  };
}

/** Holds the run's row of traces; its last turn that was told, or null where there is nothing to hold. */
async function hold(trx: Transaction<Database>, ref: RunRef): Promise<number | null> {
  const until = sql<Date>`now() + ${HELD_MS} * interval '1 millisecond'`;
  const row = await trx
    .insertInto('run_traces')
    .values({ tenant: ref.tenant, run_id: ref.run, held_until: until })
    .onConflict((conflict) =>
      conflict
        .columns(['tenant', 'run_id'])
        .doUpdateSet({ held_until: until })
        .where('run_traces.finished', '=', false)
        .where((eb) =>
          eb.or([eb('run_traces.held_until', 'is', null), eb('run_traces.held_until', '<', sql<Date>`now()`)]),
        ),
    )
    .returning('through_turn')
    .executeTakeFirst();
  return row?.through_turn ?? null;
}

async function letGo(trx: Transaction<Database>, ref: RunRef, waitMs: number): Promise<void> {
  const until = waitMs === 0 ? null : sql<Date>`now() + ${waitMs} * interval '1 millisecond'`;
  await trx.updateTable('run_traces').set({ held_until: until }).where('run_id', '=', ref.run).execute();
}

async function readTraced(trx: Transaction<Database>, ref: RunRef): Promise<TracedRun> {
  const row = await trx
    .selectFrom('agent_runs')
    .select(['agent', 'agent_hash', 'model', 'status', 'stop_reason', 'turns', 'tool_calls', 'trace_parent'])
    .select(['input_tokens', 'output_tokens', 'cache_read_tokens', 'cache_write_tokens', 'created_at', 'closed_at'])
    .where('id', '=', ref.run)
    .executeTakeFirstOrThrow();
  return {
    tenant: ref.tenant,
    id: ref.run,
    traceParent: row.trace_parent,
    agent: row.agent,
    agentHash: row.agent_hash,
    model: row.model,
    status: row.status,
    stopReason: row.stop_reason,
    turns: row.turns,
    toolCalls: row.tool_calls,
    inputTokens: row.input_tokens,
    outputTokens: row.output_tokens,
    cacheReadTokens: row.cache_read_tokens,
    cacheWriteTokens: row.cache_write_tokens,
    costMicroUsd: row.closed_at === null ? 0 : (await runCost(trx, ref.run)).settled,
    createdAt: row.created_at,
    closedAt: row.closed_at,
  };
}

interface Turns {
  readonly from: number;
  readonly through: number;
}

async function readAttempts(trx: Transaction<Database>, ref: RunRef, turns: Turns): Promise<TracedAttempt[]> {
  const rows = await trx
    .selectFrom('agent_run_costs')
    .select(['attempt_id', 'turn', 'model', 'answered_by', 'provider_request_id', 'usage', 'created_at', 'ended_at'])
    .select(['reserved_micro_usd', 'settled_micro_usd', 'purpose'])
    .where('run_id', '=', ref.run)
    .where('turn', '>', turns.from)
    .where('turn', '<=', turns.through)
    .orderBy('turn')
    .orderBy('purpose')
    .orderBy('created_at')
    .orderBy('attempt_id')
    .execute();
  const failed = rows.some((row) => row.answered_by === null);
  const codes = failed ? await readFailures(trx, ref, turns) : new Map<string, string>();
  let number = 0;
  return rows.map((row, at): TracedAttempt => {
    const before = rows[at - 1];
    number = before?.turn === row.turn && before.purpose === row.purpose ? number + 1 : 1;
    return {
      id: row.attempt_id,
      turn: row.turn,
      purpose: row.purpose,
      number,
      model: row.model,
      answeredBy: row.answered_by,
      requestId: row.provider_request_id,
      usage: row.usage,
      costMicroUsd: row.settled_micro_usd ?? row.reserved_micro_usd,
      errorCode: row.purpose === 'turn' ? (codes.get(`${row.turn}/${number}`) ?? null) : null,
      startedAt: row.created_at,
      endedAt: row.ended_at,
    };
  });
}

/** Codes of failed attempts by turn and number: the journal tells an attempt's failure behind its start. */
async function readFailures(
  trx: Transaction<Database>,
  ref: RunRef,
  turns: Turns,
): Promise<ReadonlyMap<string, string>> {
  const events = await trx
    .selectFrom('agent_run_events')
    .select(['turn', 'kind', sql<string | null>`data->>'code'`.as('code')])
    .where('run_id', '=', ref.run)
    .where('turn', '>', turns.from)
    .where('turn', '<=', turns.through)
    .where('kind', 'in', ['turn.started', 'turn.failed'])
    .orderBy('sequence')
    .execute();
  const codes = new Map<string, string>();
  const started = new Map<number, number>();
  for (const { turn, kind, code } of events) {
    const number = started.get(turn) ?? 0;
    if (kind === 'turn.started') started.set(turn, number + 1);
    else if (code !== null) codes.set(`${turn}/${number}`, code);
  }
  return codes;
}

async function readCalls(trx: Transaction<Database>, ref: RunRef, turns: Turns): Promise<TracedCall[]> {
  const rows = await trx
    .selectFrom('agent_run_tool_invocations')
    .select(['call_id', 'turn', 'tool', 'catalog', 'verdict', 'verdict_code', 'state', 'error_code', 'attempts'])
    .select(['has_effect', 'judged_at', 'started_at', 'ended_at'])
    .where('run_id', '=', ref.run)
    .where('turn', '>', turns.from)
    .where('turn', '<=', turns.through)
    .orderBy('turn')
    .orderBy('ordinal')
    .execute();
  return rows.map((row) => ({
    id: row.call_id,
    turn: row.turn,
    tool: row.tool,
    catalog: row.catalog,
    verdict: row.verdict,
    verdictCode: row.verdict_code,
    state: row.state,
    errorCode: row.error_code,
    attempts: row.attempts,
    hasEffect: row.has_effect,
    judgedAt: row.judged_at,
    startedAt: row.started_at,
    endedAt: row.ended_at,
  }));
}

async function readApprovals(trx: Transaction<Database>, ref: RunRef, turns: Turns): Promise<TracedApproval[]> {
  const rows = await trx
    .selectFrom('agent_run_tool_invocations as i')
    .innerJoin('approvals as a', (join) => join.onRef('a.id', '=', 'i.approval_id').onRef('a.tenant', '=', 'i.tenant'))
    .leftJoin('approval_decisions as d', (join) =>
      join.onRef('d.approval_id', '=', 'a.id').onRef('d.tenant', '=', 'a.tenant'),
    )
    .select(['a.id', 'i.call_id', 'i.turn', 'a.tool', 'a.tier', 'a.state', 'a.created_at', 'a.expires_at'])
    .select(['d.decided_by', 'd.via', 'd.decided_at'])
    .where('i.run_id', '=', ref.run)
    .where('i.turn', '>', turns.from)
    .where('i.turn', '<=', turns.through)
    .orderBy('i.turn')
    .orderBy('i.ordinal')
    .execute();
  return rows.map((row) => ({
    id: row.id,
    call: row.call_id,
    turn: row.turn,
    tool: row.tool,
    tier: row.tier,
    outcome: row.state,
    decidedBy: row.decided_by,
    via: row.via,
    askedAt: row.created_at,
    decidedAt: row.decided_at,
    expiresAt: row.expires_at,
  }));
}
