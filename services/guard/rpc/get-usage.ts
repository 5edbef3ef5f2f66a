import type { MessageInitShape } from '@bufbuild/protobuf';
import { StewardError } from '#domain/errors.ts';
import type { LimitScope } from '#domain/quantities.ts';
import type { GetUsageRequest, GetUsageResponseSchema } from '#gen/steward/guard/v1/limit_service_pb.ts';
import { usedBy } from '#platform/database/quantities.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { GuardDeps } from '../deps.ts';
import { shownLimits, toWireLimit } from '../limiting.ts';

const LONGEST = 200;

/** What each window holds now. */
export async function getUsage(
  ctx: CallContext,
  deps: GuardDeps,
  request: GetUsageRequest,
): Promise<MessageInitShape<typeof GetUsageResponseSchema>> {
  const { tenant } = ctx.principal;
  const { actingUser: user, agent, runId: run } = request;
  for (const [field, value] of Object.entries({ acting_user: user, agent, run_id: run })) {
    if (value.length <= LONGEST && !value.includes('\0')) continue;
    throw new StewardError('INVALID_REQUEST', `${field} must have at most ${LONGEST} characters.`, {
      details: { field },
    });
  }
  const named: Partial<Record<LimitScope, boolean>> = {
    run: run !== '',
    'user-hour': user !== '',
    'user-day': user !== '',
    'agent-day': agent !== '',
    'tenant-hour': true,
    'tenant-day': true,
  };
  return withTenant(deps.db, tenant, async (trx) => {
    const limits = (await shownLimits(trx)).filter(({ scope }) => named[scope] === true);
    const quantities = [...new Set(limits.map(({ quantity }) => quantity))];
    const used = await usedBy(trx, { tenant, run, user, agent }, quantities);
    return {
      windows: limits.map((limit) => {
        const now = used[limit.quantity]?.[limit.scope] ?? 0;
        const left = limit.amount === null ? 0 : Math.max(0, limit.amount - now);
        return { limit: toWireLimit(limit), used: BigInt(now), left: BigInt(left) };
      }),
    };
  });
}
