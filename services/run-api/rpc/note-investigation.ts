import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { StewardError } from '#domain/errors.ts';
import type {
  NoteInvestigationRequest,
  NoteInvestigationResponseSchema,
} from '#gen/steward/admin/v1/investigation_service_pb.ts';
import { audit } from '#platform/database/journal.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { lockInvestigation } from '../investigating/rows.ts';

const MOST_NOTES = 1_000;

/** Adds a note, also to one that is closed. */
export async function noteInvestigation(
  ctx: CallContext,
  deps: RunApiDeps,
  request: NoteInvestigationRequest,
): Promise<MessageInitShape<typeof NoteInvestigationResponseSchema>> {
  const { tenant, subject } = ctx.principal;
  const { runId, text } = request;
  const checks = new Checks();
  checks.runId(runId);
  checks.text('text', text, { min: 1, max: 4_000 });
  checks.done();
  return withTenant(deps.db, tenant, async (trx) => {
    const { notes } = await lockInvestigation(trx, runId);
    if (notes >= MOST_NOTES) {
      throw new StewardError('LIMIT_REACHED', `The investigation of run ${runId} has ${notes} notes. Close it.`);
    }
    const number = notes + 1;
    const { at } = await trx
      .insertInto('investigation_notes')
      .values({ tenant, run_id: runId, number, by_subject: subject, text })
      .returning('at')
      .executeTakeFirstOrThrow();
    await trx.updateTable('investigations').set({ notes: number }).where('run_id', '=', runId).execute();
    await audit(trx, tenant, { actor: subject, action: 'investigation.note', run: runId, data: { number } });
    return { note: { number, by: subject, text, at: timestampFromDate(at) } };
  });
}
