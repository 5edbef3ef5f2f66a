import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import type {
  GetInvestigationRequest,
  GetInvestigationResponseSchema,
} from '#gen/steward/admin/v1/investigation_service_pb.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { investigationRows, notInQueue, toInvestigation } from '../investigating/rows.ts';

/** One investigation with its notes. */
export async function getInvestigation(
  ctx: CallContext,
  deps: RunApiDeps,
  request: GetInvestigationRequest,
): Promise<MessageInitShape<typeof GetInvestigationResponseSchema>> {
  const checks = new Checks();
  checks.runId(request.runId);
  checks.done();
  return withTenant(deps.db, ctx.principal.tenant, async (trx) => {
    const row = await investigationRows(trx).where('i.run_id', '=', request.runId).executeTakeFirst();
    if (row === undefined) throw notInQueue(request.runId);
    const notes = await trx
      .selectFrom('investigation_notes')
      .select(['number', 'by_subject', 'text', 'at'])
      .where('run_id', '=', request.runId)
      .orderBy('number')
      .limit(1_000)
      .execute();
    return {
      investigation: toInvestigation(row),
      notes: notes.map(({ number, by_subject: by, text, at }) => ({ number, by, text, at: timestampFromDate(at) })),
    };
  });
}
