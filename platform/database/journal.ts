import { sql, type Transaction, type UpdateObject } from 'kysely';
import type { EventData, EventKind } from '#domain/events.ts';
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
 * `run` is what else changes in the row: one update, one version of it.
 */
export async function record(
  trx: Transaction<Database>,
  tenant: string,
  run: string,
  entries: { readonly events?: readonly NewEvent[]; readonly steps?: readonly NewStep[]; readonly run?: RunChange },
): Promise<void> {
  const events = entries.events ?? [];
  const steps = entries.steps ?? [];
  if (events.length === 0 && steps.length === 0 && entries.run === undefined) return;
  const row = await trx
    .updateTable('agent_runs')
    .set({
      ...entries.run,
      event_seq: sql`event_seq + ${events.length}`,
      step_seq: sql`step_seq + ${steps.length}`,
    })
    .where('id', '=', run)
    .returning(['event_seq', 'step_seq'])
    .executeTakeFirstOrThrow();
  if (steps.length > 0) {
    await trx
      .insertInto('agent_run_steps')
      .values(
        steps.map((step, index) => ({
          tenant,
          run_id: run,
          number: row.step_seq - steps.length + 1 + index,
          kind: step.kind,
          turn: step.turn,
          call_id: step.callId ?? null,
          ordinal: step.ordinal ?? 0,
          content: JSON.stringify(step.content),
          model: step.model ?? null,
          cost_micro_usd: step.costMicroUsd ?? null,
        })),
      )
      .execute();
  }
  if (events.length > 0) {
    await trx
      .insertInto('agent_run_events')
      .values(
        events.map((event, index) => ({
          tenant,
          run_id: run,
          sequence: row.event_seq - events.length + 1 + index,
          kind: event.kind,
          turn: event.turn ?? 0,
          call_id: event.callId ?? null,
          data: storableJson(event.data),
        })),
      )
      .execute();
  }
}

/** One row of the audit log, in the transaction of the thing itself. */
export async function audit(
  trx: Transaction<Database>,
  tenant: string,
  entry: {
    readonly actor: string;
    readonly action: string;
    readonly run?: string;
    readonly call?: string;
    readonly digest?: string;
    readonly data?: Readonly<Record<string, unknown>>;
  },
): Promise<void> {
  await trx
    .insertInto('audit_log')
    .values({
      tenant,
      actor: entry.actor,
      action: entry.action,
      run_id: entry.run ?? null,
      call_id: entry.call ?? null,
      digest: entry.digest ?? null,
      data: storableJson(entry.data ?? {}),
    })
    .execute();
}
