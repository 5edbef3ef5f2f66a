import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import type { Selectable, Transaction } from 'kysely';
import type { UndoState } from '#domain/undo.ts';
import { UndoState as ProtoState, type UndoSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import type { Database, UndoStepsTable, UndosTable } from '#platform/database/tables.ts';
import { changeWriter } from '../views/change.ts';

const STATES: Readonly<Record<UndoState, ProtoState>> = {
  pending: ProtoState.PENDING,
  undone: ProtoState.UNDONE,
  refused: ProtoState.REFUSED,
  cannot: ProtoState.CANNOT,
  unknown: ProtoState.UNKNOWN,
};

/** A state of an undo as the world sees it. */
export function toUndoState(state: UndoState): ProtoState {
  return STATES[state];
}

/** An undo with its steps, as the world sees it. */
export async function readUndo(
  trx: Transaction<Database>,
  undo: Selectable<UndosTable>,
): Promise<MessageInitShape<typeof UndoSchema>> {
  const steps = await trx
    .selectFrom('agent_run_undo_steps')
    .selectAll()
    .where('undo_id', '=', undo.id)
    .orderBy('ordinal')
    .execute();
  const write = changeWriter();
  return {
    id: undo.id,
    runId: undo.run_id,
    requestedBy: undo.requested_by,
    reason: undo.reason,
    createdAt: timestampFromDate(undo.created_at),
    steps: steps.map((step) => ({
      callId: step.call_id,
      tool: step.tool,
      state: STATES[step.state],
      code: step.error_code ?? '',
      message: step.error_message ?? '',
      ...(step.change ? { change: write(step.change) } : {}),
      ...(step.ended_at ? { endedAt: timestampFromDate(step.ended_at) } : {}),
    })),
  };
}

/** What of its undoing counts for an effect: that it is undone, else the newest attempt at it. */
export type Standing = Pick<Selectable<UndoStepsTable>, 'state'> & Pick<Selectable<UndosTable>, 'requested_by'>;

/** How the effects of a run stand with undos, by call id. */
export async function standingsOf(trx: Transaction<Database>, run: string): Promise<ReadonlyMap<string, Standing>> {
  const rows = await trx
    .selectFrom('agent_run_undo_steps as s')
    .innerJoin('agent_run_undos as u', 'u.id', 's.undo_id')
    .select(['s.call_id', 's.state', 'u.requested_by'])
    .where('s.run_id', '=', run)
    .orderBy('u.created_at')
    .execute();
  const standings = new Map<string, Standing>();
  for (const row of rows) {
    if (standings.get(row.call_id)?.state !== 'undone') standings.set(row.call_id, row);
  }
  return standings;
}
