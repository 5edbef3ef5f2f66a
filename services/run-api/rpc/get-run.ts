import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Transaction } from 'kysely';
import type { EffectSchema, GetRunRequest, GetRunResponseSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { readRun } from '../run-rows.ts';
import { standingsOf, toUndoState } from '../undoing/undos.ts';
import { changeWriter } from '../views/change.ts';
import { toRun } from '../views/run.ts';

const MOST_EFFECTS = 1_000;

/** One run with everything it has changed so far. */
export async function getRun(
  ctx: CallContext,
  deps: RunApiDeps,
  request: GetRunRequest,
): Promise<MessageInitShape<typeof GetRunResponseSchema>> {
  const checks = new Checks();
  checks.runId(request.runId);
  checks.done();
  return withTenant(deps.db, ctx.principal.tenant, async (trx) => {
    const run = await readRun(trx, ctx.principal, request.runId);
    return { run: toRun(run, deps.temporalUi), effects: await effectsOf(trx, run.id) };
  });
}

async function effectsOf(trx: Transaction<Database>, run: string): Promise<MessageInitShape<typeof EffectSchema>[]> {
  const rows = await trx
    .selectFrom('agent_run_tool_invocations as i')
    .leftJoin('approvals as a', 'a.id', 'i.approval_id')
    .leftJoin('approval_decisions as d', 'd.approval_id', 'i.approval_id')
    .select([
      'i.call_id',
      'i.tool',
      'i.change',
      'i.undoable',
      'i.verdict',
      'i.digest',
      'i.state',
      'a.preview',
      'd.decided_by',
    ])
    .where('i.run_id', '=', run)
    .where('i.has_effect', '=', true)
    .where('i.state', 'in', ['done', 'outcome_unknown'])
    .orderBy('i.started_at')
    .orderBy('i.turn')
    .orderBy('i.ordinal')
    .limit(MOST_EFFECTS)
    .execute();
  const undos = await standingsOf(trx, run);
  const write = changeWriter();
  return rows.map((row) => {
    // Of an unknown outcome all that can be said is what was meant to happen.
    const change = row.change ?? (row.state === 'outcome_unknown' ? row.preview : null);
    const undo = undos.get(row.call_id);
    return {
      callId: row.call_id,
      tool: row.tool,
      ...(change ? { change: write(change) } : {}),
      undoable: row.undoable,
      approvedBy: row.verdict === 'ask' ? (row.decided_by ?? '') : 'policy',
      digest: row.digest ?? '',
      certain: row.state === 'done',
      ...(undo === undefined ? {} : { undoState: toUndoState(undo.state), undoneBy: undo.requested_by }),
    };
  });
}
