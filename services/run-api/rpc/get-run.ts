import type { MessageInitShape } from '@bufbuild/protobuf';
import { sql, type Transaction } from 'kysely';
import type { Change } from '#domain/tools.ts';
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
/** Of texts and changes together, so that the answer fits one message. */
const MOST_BYTES = 850_000;

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
    const texts = Buffer.byteLength(run.input) + Buffer.byteLength(run.outcome ?? '');
    return { run: toRun(run, deps.temporalUi), effects: await effectsOf(trx, run.id, MOST_BYTES - texts) };
  });
}

interface EffectRow {
  readonly call_id: string;
  readonly tool: string;
  readonly change: Change | null;
  readonly undoable: boolean;
  readonly verdict: 'allow' | 'deny' | 'ask';
  readonly digest: string | null;
  readonly state: 'done' | 'outcome_unknown';
  readonly decided_by: string | null;
}

/** What the changes of a run are together may be long: those that go past `bytes` stay in the database but for a line. */
async function effectsOf(
  trx: Transaction<Database>,
  run: string,
  bytes: number,
): Promise<MessageInitShape<typeof EffectSchema>[]> {
  const { rows } = await sql<EffectRow>`
    select call_id, tool, undoable, verdict, digest, state, decided_by,
      case when sum(octet_length(change::text)) over (order by place) <= ${bytes} then change
        when change is not null then json_build_object('summary', left(change ->> 'summary', 500), 'fields', '[]'::json,
          'quantities', change -> 'quantities') end as change
    from (
      select i.call_id, i.tool, i.undoable, i.verdict, i.digest, i.state, d.decided_by,
        -- Of an unknown outcome all that can be said is what was meant to happen.
        coalesce(i.change, case when i.state = 'outcome_unknown' then a.preview end) as change,
        row_number() over (order by i.started_at, i.turn, i.ordinal) as place
      from agent_run_tool_invocations i
      left join approvals a on a.id = i.approval_id
      left join approval_decisions d on d.approval_id = i.approval_id
      where i.run_id = ${run} and i.has_effect and i.state in ('done', 'outcome_unknown')
      order by place limit ${MOST_EFFECTS}
    ) as effect
    order by place`.execute(trx);
  const undos = await standingsOf(trx, run);
  const write = changeWriter(bytes);
  return rows.map((row) => {
    const undo = undos.get(row.call_id);
    return {
      callId: row.call_id,
      tool: row.tool,
      ...(row.change ? { change: write(row.change) } : {}),
      undoable: row.undoable,
      approvedBy: row.verdict === 'ask' ? (row.decided_by ?? '') : 'policy',
      digest: row.digest ?? '',
      certain: row.state === 'done',
      ...(undo === undefined ? {} : { undoState: toUndoState(undo.state), undoneBy: undo.requested_by }),
    };
  });
}
