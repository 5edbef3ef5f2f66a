import type { Kysely, Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { undoKeyOf } from '#domain/ids.ts';
import type { RunRef } from '#domain/ports/run-store.ts';
import type { UndoStore } from '#domain/ports/undo.ts';
import type { UndoEnd, UndoState } from '#domain/undo.ts';
import type { RunGrantVerifier } from '#platform/identity/grants.ts';
import { audit, type NewEvent, record } from './journal.ts';
import type { Notifier } from './notify.ts';
import { verifyRow } from './run-row.ts';
import { storableJson } from './storable.ts';
import type { Database } from './tables.ts';
import { withTenant } from './tenant.ts';

export interface UndoStoreDeps {
  readonly db: Kysely<Database>;
  readonly grants: RunGrantVerifier;
  readonly notifier: Pick<Notifier, 'wake'>;
}

/** Undos in Postgres. */
export function createUndoStore(deps: UndoStoreDeps): UndoStore {
  return {
    async openUndo(ref, undo, callId) {
      const row = await withTenant(deps.db, ref.tenant, (trx) => openedStep(trx, ref, undo, callId));
      if (!row?.catalog) {
        throw new StewardError('NOT_FOUND', `Undo ${undo} has no step for call ${callId} of run ${ref.run}.`);
      }
      await verifyRow(deps.grants, ref, row);
      return {
        state: row.state,
        tool: row.tool,
        catalog: row.catalog,
        key: undoKeyOf(ref.run, callId),
        digest: row.digest,
        attempts: row.attempts,
        authorizedAt: row.authorized_at?.getTime() ?? null,
        timeoutMs: row.timeout_ms ?? 10_000,
        runGrant: row.run_grant,
      };
    },

    async endUndo(ref, undo, callId, end) {
      const state = await withTenant(deps.db, ref.tenant, (trx) => endStep(trx, ref, undo, callId, end));
      deps.notifier.wake(ref.run);
      return state;
    },
  };
}

function openedStep(trx: Transaction<Database>, ref: RunRef, undo: string, callId: string) {
  return trx
    .selectFrom('agent_run_undo_steps as s')
    .innerJoin('agent_runs as r', 'r.id', 's.run_id')
    .innerJoin('agent_run_tool_invocations as i', (join) =>
      join.onRef('i.run_id', '=', 's.run_id').onRef('i.call_id', '=', 's.call_id'),
    )
    .select(['s.state', 's.tool', 's.digest', 's.attempts', 's.authorized_at'])
    .select(['i.catalog', 'i.timeout_ms', 'r.run_grant', 'r.trace_parent'])
    .where('s.undo_id', '=', undo)
    .where('s.call_id', '=', callId)
    .where('s.run_id', '=', ref.run)
    .executeTakeFirst();
}

/** Stores what a step came to, once: a step that has an end keeps it. */
async function endStep(
  trx: Transaction<Database>,
  ref: RunRef,
  undo: string,
  callId: string,
  end: UndoEnd,
): Promise<UndoState> {
  // The run before the step, as everywhere.
  await trx.selectFrom('agent_runs').select('id').where('id', '=', ref.run).forNoKeyUpdate().execute();
  const step = await trx
    .updateTable('agent_run_undo_steps')
    .set({
      state: end.kind,
      ended_at: new Date(),
      ...(end.kind === 'undone'
        ? { change: end.change === null ? null : storableJson(end.change) }
        : { error_code: end.code, error_message: end.message.slice(0, 2_000) }),
    })
    .where('undo_id', '=', undo)
    .where('call_id', '=', callId)
    .where('run_id', '=', ref.run)
    .where('state', '=', 'pending')
    .returning(['tool', 'digest'])
    .executeTakeFirst();
  if (!step) {
    const row = await openedStep(trx, ref, undo, callId);
    if (row) return row.state;
    throw new StewardError('NOT_FOUND', `Undo ${undo} has no step for call ${callId} of run ${ref.run}.`);
  }
  const { requested_by: actor } = await trx
    .selectFrom('agent_run_undos')
    .select('requested_by')
    .where('id', '=', undo)
    .executeTakeFirstOrThrow();
  await audit(trx, ref.tenant, {
    actor,
    action: `undo.${end.kind}`,
    run: ref.run,
    call: callId,
    ...(step.digest === null ? {} : { digest: step.digest }),
    data: { undo, tool: step.tool, ...(end.kind === 'undone' ? {} : { code: end.code }) },
  });
  await record(trx, ref.tenant, ref.run, { events: [eventOf(undo, step.tool, callId, end)] });
  return end.kind;
}

function eventOf(undo: string, tool: string, callId: string, end: UndoEnd): NewEvent {
  switch (end.kind) {
    case 'undone':
      return { kind: 'undo.done', callId, data: { undo, tool, change: end.change, repeated: end.repeated } };
    case 'refused':
      return { kind: 'undo.refused', callId, data: { undo, tool, code: end.code, message: end.message } };
    case 'unknown':
      return { kind: 'undo.unknown', callId, data: { undo, tool, message: end.message } };
  }
}
