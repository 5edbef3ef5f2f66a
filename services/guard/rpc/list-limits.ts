import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ListLimitsResponseSchema } from '#gen/steward/guard/v1/limit_service_pb.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { GuardDeps } from '../deps.ts';
import { shownLimits, toWireLimit } from '../limiting.ts';

/** The limits in force. */
export async function listLimits(
  ctx: CallContext,
  deps: GuardDeps,
): Promise<MessageInitShape<typeof ListLimitsResponseSchema>> {
  const limits = await withTenant(deps.db, ctx.principal.tenant, shownLimits);
  return { limits: limits.map(toWireLimit) };
}
