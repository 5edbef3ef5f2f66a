import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { sql, type Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { parseCallId } from '#domain/ids.ts';
import type { GetToolCallRequest, GetToolCallResponseSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { readRun } from '../run-rows.ts';
import { changeWriter } from '../views/change.ts';

/** One tool call: what was asked, judged, decided, done, changed and what it cost. */
export async function getToolCall(
  ctx: CallContext,
  deps: RunApiDeps,
  request: GetToolCallRequest,
): Promise<MessageInitShape<typeof GetToolCallResponseSchema>> {
  const checks = new Checks();
  checks.runId(request.runId);
  checks.that(parseCallId(request.callId) !== null, 'call_id', 'must be the id of a call, such as 2.0');
  checks.done();
  return withTenant(deps.db, ctx.principal.tenant, async (trx) => {
    const run = await readRun(trx, ctx.principal, request.runId);
    const row = await findCall(trx, run.id, request.callId);
    if (row === undefined) {
      throw new StewardError('NOT_FOUND', `Run ${run.id} has no call ${request.callId}. Its steps name its calls.`);
    }
    const write = changeWriter();
    return {
      call: {
        runId: run.id,
        callId: row.call_id,
        turn: row.turn,
        catalog: row.catalog ?? '',
        tool: row.tool,
        toolHash: row.tool_hash ?? '',
        argsJson: row.args_text ?? '',
        verdict: row.verdict,
        verdictCode: row.verdict_code ?? '',
        why: row.verdict_reason === null ? row.why : [...row.why, row.verdict_reason],
        approvalId: row.approval_id ?? '',
        decidedBy: row.decided_by ?? '',
        decisionReason: row.decision_reason ?? '',
        state: row.state,
        key: row.key ?? '',
        digest: row.digest ?? '',
        attempts: row.attempts,
        resultJson: row.result_text ?? '',
        ...(row.preview ? { preview: write(row.preview) } : {}),
        ...(row.change ? { change: write(row.change) } : {}),
        undoable: row.undoable,
        errorCode: row.error_code ?? '',
        errorMessage: row.error_message ?? '',
        ...(row.started_at ? { startedAt: timestampFromDate(row.started_at) } : {}),
        ...(row.ended_at ? { endedAt: timestampFromDate(row.ended_at) } : {}),
        policySetHash: row.policy_set_hash,
        costMicroUsd: BigInt(await shareOf(trx, run.id, row.turn, row.ordinal)),
      },
    };
  });
}

async function findCall(trx: Transaction<Database>, run: string, call: string) {
  return trx
    .selectFrom('agent_run_tool_invocations as i')
    .leftJoin('approvals as a', 'a.id', 'i.approval_id')
    .leftJoin('approval_decisions as d', 'd.approval_id', 'i.approval_id')
    .select(['i.call_id', 'i.turn', 'i.ordinal', 'i.catalog', 'i.tool', 'i.tool_hash', 'i.verdict', 'i.verdict_code'])
    .select(['i.why', 'i.verdict_reason', 'i.approval_id', 'i.state', 'i.key', 'i.digest', 'i.attempts', 'i.change'])
    .select(['i.undoable', 'i.error_code', 'i.error_message', 'i.started_at', 'i.ended_at', 'i.policy_set_hash'])
    .select(sql<string | null>`i.args::text`.as('args_text'))
    .select(sql<string | null>`i.result::text`.as('result_text'))
    .select(['a.preview', 'd.decided_by', 'd.reason as decision_reason'])
    .where('i.run_id', '=', run)
    .where('i.call_id', '=', call)
    .executeTakeFirst();
}

/** The call's share of its turn's model cost, in micro-USD: equal shares, the odd ones to the first calls. */
async function shareOf(trx: Transaction<Database>, run: string, turn: number, ordinal: number): Promise<number> {
  const { rows } = await sql<{ cost: number; calls: number }>`
    select (select coalesce(sum(settled_micro_usd), 0)::bigint from agent_run_costs
        where run_id = ${run} and turn = ${turn}) as cost,
      (select count(*) from agent_run_tool_invocations where run_id = ${run} and turn = ${turn}) as calls`.execute(trx);
  const { cost, calls } = rows[0] as { cost: number; calls: number };
  if (calls === 0) return 0;
  return Math.floor(cost / calls) + (ordinal < cost % calls ? 1 : 0);
}
