import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { sql } from 'kysely';
import type { ListStepsRequest, ListStepsResponseSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { readRun } from '../run-rows.ts';

const PAGE = 50;
const MOST = 200;
/** A page ends early at so many bytes, so that it fits one message. */
const PAGE_BYTES = 700_000;
/** A longer step is left out of its page; GetToolCall has a call's result whole. */
const STEP_BYTES = 500_000;

/** The run's steps in order, each exactly as it was stored. */
export async function listSteps(
  ctx: CallContext,
  deps: RunApiDeps,
  request: ListStepsRequest,
): Promise<MessageInitShape<typeof ListStepsResponseSchema>> {
  const checks = new Checks();
  checks.runId(request.runId);
  checks.that(request.afterStep >= 0, 'after_step', 'must not be negative');
  const size = checks.pageSize(request.pageSize, PAGE, MOST);
  checks.done();
  return withTenant(deps.db, ctx.principal.tenant, async (trx) => {
    const run = await readRun(trx, ctx.principal, request.runId);
    const bytes = sql<number>`octet_length(content::text)`;
    const found = await trx
      .selectFrom('agent_run_steps')
      .select(['number', 'kind', 'turn', 'call_id', 'cost_micro_usd', 'model', 'created_at'])
      .select(bytes.as('bytes'))
      .select(
        sql<string | null>`case when octet_length(content::text) <= ${STEP_BYTES} then content::text end`.as('content'),
      )
      .where('run_id', '=', run.id)
      .where('number', '>', request.afterStep)
      .orderBy('number')
      .limit(size + 1)
      .execute();
    let left = PAGE_BYTES;
    const page = found.slice(0, size).filter((step, index) => {
      left -= step.content === null ? 100 : step.bytes;
      return index === 0 || left >= 0;
    });
    return {
      steps: page.map((step) => ({
        number: step.number,
        kind: step.kind,
        turn: step.turn,
        callId: step.call_id ?? '',
        contentJson: step.content ?? JSON.stringify({ left_out: true, bytes: step.bytes }),
        time: timestampFromDate(step.created_at),
        costMicroUsd: BigInt(step.cost_micro_usd ?? 0),
        model: step.model ?? '',
      })),
      more: page.length < found.length,
    };
  });
}
