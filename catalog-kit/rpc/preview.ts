import type { MessageInitShape } from '@bufbuild/protobuf';
import { StewardError } from '#domain/errors.ts';
import type { PreviewRequest, PreviewResponseSchema } from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { admitCall, requireLeave } from '../admission.ts';
import { withinTimeout } from '../attempt.ts';
import type { Catalog } from '../catalog.ts';
import { toProtoChange } from '../change.ts';
import { toolContext } from '../context.ts';
import { inTransaction } from '../database.ts';
import { checkedChange } from '../outcome.ts';
import { isRefusal, type ToolRefusal } from '../refusal.ts';

/** Runs a tool's check and preview in a transaction that cannot write. */
export async function preview(
  catalog: Catalog,
  ctx: CallContext,
  request: PreviewRequest,
): Promise<MessageInitShape<typeof PreviewResponseSchema>> {
  const call = await admitCall(catalog, request, 'execute');
  const { tool, args } = call;
  try {
    requireLeave(call);
    return await withinTimeout(ctx, tool, (bounds) =>
      inTransaction(catalog.db, call.grant.tenant, bounds, 'read', async (trx) => {
        const toolCtx = toolContext(call, bounds, trx);
        await tool.run.check?.(toolCtx, args);
        const change = await tool.run.preview?.(toolCtx, args);
        return change === undefined ? {} : { change: toProtoChange(checkedChange(tool, change)) };
      }),
    );
  } catch (error) {
    throw isRefusal(error) ? toError(error) : error;
  }
}

/** Preview has no refusal in its answer: the domain's no is a status, its code a detail. */
function toError(refusal: ToolRefusal): StewardError {
  const code = !refusal.permission
    ? 'TOOL_REFUSED'
    : refusal.code === 'RESOURCE_DENIED'
      ? 'RESOURCE_DENIED'
      : 'NOT_PERMITTED';
  return new StewardError(code, refusal.message, { details: { refusal: refusal.code } });
}
