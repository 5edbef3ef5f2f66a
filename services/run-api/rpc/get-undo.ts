import type { MessageInitShape } from '@bufbuild/protobuf';
import { isStewardError, StewardError } from '#domain/errors.ts';
import type { GetUndoRequest, GetUndoResponseSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { readRun } from '../run-rows.ts';
import { readUndo } from '../undoing/undos.ts';

const UNDO_ID = /^[0-9a-zA-Z_-]{8,64}$/;

/** One undo as it stands now, for whoever sees its run. */
export async function getUndo(
  ctx: CallContext,
  deps: RunApiDeps,
  request: GetUndoRequest,
): Promise<MessageInitShape<typeof GetUndoResponseSchema>> {
  const checks = new Checks();
  checks.that(UNDO_ID.test(request.undoId), 'undo_id', 'must be the id of an undo');
  checks.done();
  const nothing = (): StewardError =>
    new StewardError('NOT_FOUND', `There is no undo ${request.undoId} that you may see. Check the id.`);
  return await withTenant(deps.db, ctx.principal.tenant, async (trx) => {
    const undo = await trx
      .selectFrom('agent_run_undos')
      .selectAll()
      .where('id', '=', request.undoId)
      .executeTakeFirst();
    if (undo === undefined) throw nothing();
    await readRun(trx, ctx.principal, undo.run_id).catch((error: unknown) => {
      throw isStewardError(error) && error.code === 'NOT_FOUND' ? nothing() : error;
    });
    return { undo: await readUndo(trx, undo) };
  });
}
