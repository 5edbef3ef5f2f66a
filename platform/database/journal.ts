import { type RawBuilder, sql, type Transaction, type UpdateObject } from 'kysely';
import type { EventData, EventKind } from '#domain/events.ts';
import { AUDIT_COLUMNS, type AuditEntry, auditRows } from './audit.ts';
import { storableJson } from './storable.ts';
import type { Database, StepsTable } from './tables.ts';

/** One event to write. */
export type NewEvent = {
  [K in EventKind]: { readonly kind: K; readonly turn?: number; readonly callId?: string; readonly data: EventData[K] };
}[EventKind];

/** One step to write. */
export interface NewStep {
  readonly kind: StepsTable['kind'];
  readonly turn: number;
  readonly callId?: string;
  readonly ordinal?: number;
  readonly content: unknown;
  readonly model?: string;
  readonly costMicroUsd?: number;
}

/** What else changes in a run row. Its counters are the journal's own. */
export type RunChange = Omit<UpdateObject<Database, 'agent_runs', 'agent_runs'>, 'event_seq' | 'step_seq'>;

/**
 * Writes steps and events of a run in the transaction of the thing itself, numbered by the run row's counters, and so
 * locks the run row until the end of the transaction. Call it once per transaction, after the work that can wait.
 * `run` is what else changes in the row: one update, one version of it. `audit` joins the audit log in the same statement.
 */
export async function record(
  trx: Transaction<Database>,
  tenant: string,
  run: string,
  entries: {
    readonly events?: readonly NewEvent[];
    readonly steps?: readonly NewStep[];
    readonly audit?: readonly AuditEntry[];
    readonly run?: RunChange;
  },
): Promise<void> {
  const events = entries.events ?? [];
  const steps = entries.steps ?? [];
  const audited = entries.audit ?? [];
  if (events.length + steps.length + audited.length === 0 && entries.run === undefined) return;
  const numbered = trx.with('run', (db) =>
    db
      .updateTable('agent_runs')
      .set({
        ...entries.run,
        event_seq: sql`event_seq + ${events.length}`,
        step_seq: sql`step_seq + ${steps.length}`,
      })
      .where('id', '=', run)
      .returning(['event_seq', 'step_seq']),
  );
  const stepped =
    steps.length === 0
      ? numbered
      : numbered.with('steps', (db) =>
          db
            .insertInto('agent_run_steps')
            .columns(STEP_COLUMNS)
            .expression(stepRows(tenant, run, steps)),
        );
  const written =
    events.length === 0
      ? stepped
      : stepped.with('events', (db) =>
          db
            .insertInto('agent_run_events')
            .columns(EVENT_COLUMNS)
            .expression(eventRows(tenant, run, events)),
        );
  const all =
    audited.length === 0
      ? written
      : written.with('audited', (db) =>
          db.insertInto('audit_log').columns(AUDIT_COLUMNS).expression(auditRows(tenant, audited)),
        );
  await all.selectFrom('run').select('event_seq').executeTakeFirstOrThrow();
}

const STEP_COLUMNS = [
  'tenant',
  'run_id',
  'number',
  'kind',
  'turn',
  'call_id',
  'ordinal',
  'content',
  'model',
  'cost_micro_usd',
] as const;
const EVENT_COLUMNS = ['tenant', 'run_id', 'sequence', 'kind', 'turn', 'call_id', 'data'] as const;

function stepRows(tenant: string, run: string, steps: readonly NewStep[]): RawBuilder<unknown> {
  const rows = steps.map((step, at) => {
    const { kind, turn, callId = null, ordinal = 0, model = null, costMicroUsd = null } = step;
    return sql`(${at - steps.length + 1}::int8, ${kind}::text, ${turn}::int, ${callId}::text, ${ordinal}::int,
      ${JSON.stringify(step.content)}::json, ${model}::text, ${costMicroUsd}::int8)`;
  });
  return sql`select ${tenant}::text, ${run}::text, run.step_seq + v.at, v.kind, v.turn, v.call_id, v.ordinal, v.content,
      v.model, v.cost
    from run, (values ${sql.join(rows)}) as v (at, kind, turn, call_id, ordinal, content, model, cost)`;
}

function eventRows(tenant: string, run: string, events: readonly NewEvent[]): RawBuilder<unknown> {
  const rows = events.map(({ kind, turn = 0, callId = null, data }, at) => {
    return sql`(${at - events.length + 1}::int8, ${kind}::text, ${turn}::int, ${callId}::text,
      ${storableJson(data)}::jsonb)`;
  });
  return sql`select ${tenant}::text, ${run}::text, run.event_seq + v.at, v.kind, v.turn, v.call_id, v.data
    from run, (values ${sql.join(rows)}) as v (at, kind, turn, call_id, data)`;
}

/** One entry of the audit log, in the transaction of the thing itself. */
export async function audit(trx: Transaction<Database>, tenant: string, entry: AuditEntry): Promise<void> {
  await trx
    .insertInto('audit_log')
    .columns(AUDIT_COLUMNS)
    .expression(auditRows(tenant, [entry]))
    .execute();
}
