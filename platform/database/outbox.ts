import { type Kysely, sql, type Transaction } from 'kysely';
import type { DecideApprovalSignal, PauseSignal, RaiseBudgetSignal } from '#domain/run-workflow.ts';
import type { UndoInput } from '#domain/undo.ts';
import type { Database, OutboxKind } from './tables.ts';
import { withTenant } from './tenant.ts';

/** What is owed to Temporal, by kind. */
export type Owed =
  | { readonly kind: 'start' | 'cancel'; readonly runId: string; readonly payload?: Readonly<Record<string, never>> }
  | { readonly kind: 'decide_approval'; readonly runId: string; readonly payload: DecideApprovalSignal }
  | { readonly kind: 'raise_budget'; readonly runId: string; readonly payload: RaiseBudgetSignal }
  | { readonly kind: 'pause' | 'resume'; readonly runId: string; readonly payload: PauseSignal }
  | { readonly kind: 'undo'; readonly runId: string; readonly payload: Pick<UndoInput, 'undo' | 'calls'> };

/** Writes one row in the transaction of the thing itself; returns its id, which `deliver` takes after the commit. */
export async function enqueue(trx: Transaction<Database>, tenant: string, owed: Owed): Promise<number> {
  const row = await trx
    .insertInto('outbox')
    .values({ tenant, kind: owed.kind, run_id: owed.runId, payload: JSON.stringify(owed.payload ?? {}) })
    .returning('id')
    .executeTakeFirstOrThrow();
  return row.id;
}

/** A row that is this deliverer's until its hold ends. */
export interface Claimed {
  readonly id: number;
  readonly kind: OutboxKind;
  readonly run_id: string;
  readonly payload: Record<string, unknown>;
  readonly attempts: number;
}

/**
 * Claims rows for `holdMs`: of each run the oldest undelivered one only, so that what a run is told keeps its order. An
 * undo is a workflow of its own and waits for nothing. A cancel waits for the start, and for nothing else that has been
 * tried in vain: Temporal takes so many signals of one workflow and no more, and stopping must not hang on them.
 * With ids: rows of their runs up to them, whether due or not; else every row that is due. Rows another deliverer holds
 * are left alone.
 */
export async function claim(
  db: Kysely<Database>,
  tenant: string,
  options: { readonly ids: readonly number[] | 'due'; readonly limit: number; readonly holdMs: number },
): Promise<Claimed[]> {
  const { ids } = options;
  if (ids !== 'due' && ids.length === 0) return [];
  const wanted =
    ids === 'due'
      ? sql`true`
      : sql`exists (select from outbox w where w.run_id = o.run_id and w.id = any(${ids}::bigint[]) and o.id <= w.id)`;
  return withTenant(db, tenant, async (trx) => {
    const { rows } = await sql<Claimed>`
      with chosen as materialized (
        select o.id from outbox o
        where o.delivered_at is null and (o.held_until is null or o.held_until <= now()) and ${wanted}
          and (o.kind = 'undo' or not exists (
            select from outbox e where e.delivered_at is null and e.run_id = o.run_id and e.id < o.id
              and (o.kind <> 'cancel' or e.kind = 'start' or e.attempts = 0)))
        order by o.id limit ${options.limit} for update skip locked)
      update outbox u set attempts = u.attempts + 1, held_until = now() + ${options.holdMs} * interval '1 millisecond'
      from chosen where u.id = chosen.id
      returning u.id, u.kind, u.run_id, u.payload, u.attempts`.execute(trx);
    return rows.toSorted((a, b) => a.id - b.id);
  });
}

/** Marks a row delivered. `note` says why nothing had to be done, where that is so. A delivered start is noted on its run. */
export async function markDelivered(
  db: Kysely<Database>,
  tenant: string,
  row: Claimed,
  note: string | null,
): Promise<void> {
  await withTenant(db, tenant, async (trx) => {
    if (row.kind === 'start' && note === null) {
      await trx
        .updateTable('agent_runs')
        .set({ workflow_started_at: new Date() })
        .where('id', '=', row.run_id)
        .where('workflow_started_at', 'is', null)
        .execute();
    }
    await trx
      .updateTable('outbox')
      .set({ delivered_at: new Date(), held_until: null, last_error: note })
      .where('id', '=', row.id)
      .where('delivered_at', 'is', null)
      .execute();
  });
}

/** Puts a row back, to be tried again after `waitMs`. */
export async function markFailed(
  db: Kysely<Database>,
  tenant: string,
  row: Claimed,
  failure: { readonly error: string; readonly waitMs: number },
): Promise<void> {
  await withTenant(db, tenant, (trx) =>
    sql`update outbox set last_error = ${failure.error}, held_until = now() + ${failure.waitMs} * interval '1 millisecond'
      where id = ${row.id} and delivered_at is null and attempts = ${row.attempts}`.execute(trx),
  );
}
