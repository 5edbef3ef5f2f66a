import type { MessageInitShape } from '@bufbuild/protobuf';
import { StewardError } from '#domain/errors.ts';
import type { SetLimitRequest, SetLimitResponseSchema } from '#gen/steward/guard/v1/limit_service_pb.ts';
import { audit } from '#platform/database/journal.ts';
import { MOST_ASKED_TIER } from '#platform/database/quantities.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { GuardDeps } from '../deps.ts';
import { readPlace, shownLimits, toWireLimit } from '../limiting.ts';

const DEFAULT_TIER = 3;
/** All of them are read with every call that spends. */
const MOST_LIMITS = 500;

/** Sets the tenant's own limit of a quantity over a scope. */
export async function setLimit(
  ctx: CallContext,
  deps: GuardDeps,
  request: SetLimitRequest,
): Promise<MessageInitShape<typeof SetLimitResponseSchema>> {
  const { tenant, subject } = ctx.principal;
  const place = readPlace(request);
  const changes = readChanges(request);
  return withTenant(deps.db, tenant, async (trx) => {
    const before = (await shownLimits(trx)).find((one) => one.quantity === place.quantity && one.scope === place.scope);
    if (before?.set == null && (await shownLimits(trx)).length >= MOST_LIMITS) {
      throw new StewardError('LIMIT_REACHED', `A tenant has at most ${MOST_LIMITS} limits. Remove one first.`);
    }
    const set = { ...changes, set_by: subject, set_at: new Date() };
    await trx
      .insertInto('quantity_limits')
      .values({ tenant, ...place, ...set })
      .onConflict((conflict) => conflict.columns(['tenant', 'quantity', 'scope']).doUpdateSet(set))
      .execute();
    const data = { ...place, before: before?.amount, after: changes.amount, outcome: changes.outcome };
    await audit(trx, tenant, { actor: subject, action: 'limit.set', data });
    return { limit: toWireLimit({ ...place, ...changes, set: { by: subject, at: set.set_at } }) };
  });
}

function readChanges({ amount, outcome, tier }: SetLimitRequest) {
  const wrong = (field: string, must: string) =>
    new StewardError('INVALID_REQUEST', `${field} must be ${must}.`, { details: { field } });
  if (amount !== undefined && (amount < 0n || amount > BigInt(Number.MAX_SAFE_INTEGER))) {
    throw wrong('amount', `0 to ${Number.MAX_SAFE_INTEGER}`);
  }
  if (outcome !== '' && outcome !== 'deny' && outcome !== 'ask') throw wrong('outcome', 'deny or ask');
  if (tier !== 0 && outcome !== 'ask') throw wrong('tier', 'left out where a limit denies');
  if (tier < 0 || tier > MOST_ASKED_TIER)
    throw wrong('tier', `1 to ${MOST_ASKED_TIER}: no question takes two persons yet`);
  return {
    amount: amount === undefined ? null : Number(amount),
    outcome: outcome === 'ask' ? ('ask' as const) : ('deny' as const),
    tier: outcome === 'ask' ? tier || DEFAULT_TIER : 0,
  };
}
