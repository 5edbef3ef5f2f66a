import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import type { Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import {
  BATCH,
  DEFAULT_QUANTITY_LIMITS,
  LIMIT_SCOPES,
  type LimitScope,
  parseQuantity,
  type QuantityLimit,
} from '#domain/quantities.ts';
import type { QuantityLimitSchema } from '#gen/steward/guard/v1/limit_service_pb.ts';
import type { Database } from '#platform/database/tables.ts';

/** A limit with who has set it; null: a default. */
export type ShownLimit = QuantityLimit & { readonly set: { readonly by: string; readonly at: Date } | null };

/** The limits in force, by quantity and scope. */
export async function shownLimits(trx: Transaction<Database>): Promise<readonly ShownLimit[]> {
  const rows = await trx
    .selectFrom('quantity_limits')
    .select(['quantity', 'scope', 'amount', 'outcome', 'tier', 'set_by', 'set_at'])
    .limit(1_000)
    .execute();
  const own = rows.map(({ set_by: by, set_at: at, ...limit }): ShownLimit => ({ ...limit, set: { by, at } }));
  const replaced = (one: QuantityLimit) => own.some((other) => placeOf(other) === placeOf(one));
  const defaults = DEFAULT_QUANTITY_LIMITS.filter((one) => !replaced(one)).map((one) => ({ ...one, set: null }));
  return [...own, ...defaults].toSorted((a, b) => (placeOf(a) < placeOf(b) ? -1 : 1));
}

function placeOf({ quantity, scope }: Pick<QuantityLimit, 'quantity' | 'scope'>): string {
  return `${quantity} ${LIMIT_SCOPES.indexOf(scope)}`;
}

/** Throws INVALID_REQUEST where there can be no limit of this quantity over this scope. */
export function readPlace(request: { readonly quantity: string; readonly scope: string }): {
  readonly quantity: string;
  readonly scope: LimitScope;
} {
  const { quantity } = request;
  if (parseQuantity(quantity)?.from.kind !== 'preview') {
    throw new StewardError('INVALID_REQUEST', 'quantity must be a name such as refund.cents, rows.deleted, emails.', {
      details: { field: 'quantity' },
    });
  }
  const scope = LIMIT_SCOPES.find((one) => one === request.scope);
  if (scope === undefined || (scope === 'turn') !== (quantity === BATCH)) {
    const scopes = quantity === BATCH ? ['turn'] : LIMIT_SCOPES.filter((one) => one !== 'turn');
    throw new StewardError('INVALID_REQUEST', `scope of ${quantity} must be one of ${scopes.join(', ')}.`, {
      details: { field: 'scope' },
    });
  }
  return { quantity, scope };
}

export function toWireLimit(limit: ShownLimit): MessageInitShape<typeof QuantityLimitSchema> {
  const { quantity, scope, amount, outcome, tier, set } = limit;
  return {
    quantity,
    scope,
    ...(amount === null ? {} : { amount: BigInt(amount) }),
    outcome,
    tier,
    ...(set === null ? {} : { setBy: set.by, setAt: timestampFromDate(set.at) }),
  };
}
