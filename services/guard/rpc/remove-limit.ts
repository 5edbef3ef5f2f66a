import type { MessageInitShape } from '@bufbuild/protobuf';
import { StewardError } from '#domain/errors.ts';
import type { RemoveLimitRequest, RemoveLimitResponseSchema } from '#gen/steward/guard/v1/limit_service_pb.ts';
import { audit } from '#platform/database/journal.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { GuardDeps } from '../deps.ts';
import { readPlace, shownLimits, toWireLimit } from '../limiting.ts';

/** Takes the tenant's own limit away. */
export async function removeLimit(
  ctx: CallContext,
  deps: GuardDeps,
  request: RemoveLimitRequest,
): Promise<MessageInitShape<typeof RemoveLimitResponseSchema>> {
  const { tenant, subject } = ctx.principal;
  const { quantity, scope } = readPlace(request);
  return withTenant(deps.db, tenant, async (trx) => {
    const gone = await trx
      .deleteFrom('quantity_limits')
      .where('quantity', '=', quantity)
      .where('scope', '=', scope)
      .returning('amount')
      .executeTakeFirst();
    if (!gone) throw new StewardError('NOT_FOUND', `This tenant has no limit of its own on ${quantity} over ${scope}.`);
    const now = (await shownLimits(trx)).find((one) => one.quantity === quantity && one.scope === scope);
    const data = { quantity, scope, before: gone.amount, after: now?.amount ?? null };
    await audit(trx, tenant, { actor: subject, action: 'limit.remove', data });
    return now ? { limit: toWireLimit(now) } : {};
  });
}
