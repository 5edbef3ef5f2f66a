import type { MessageInitShape } from '@bufbuild/protobuf';
import { tenantMonthAccount } from '#domain/ids.ts';
import type { GetTenantRequest, GetTenantResponseSchema } from '#gen/steward/admin/v1/admin_service_pb.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { RunApiDeps } from '../deps.ts';
import { readTenant, toTenant } from '../views/tenant.ts';

/** The token's tenant with its settings and what its month has cost so far. */
export async function getTenant(
  ctx: CallContext,
  deps: RunApiDeps,
  _request: GetTenantRequest,
): Promise<MessageInitShape<typeof GetTenantResponseSchema>> {
  const { tenant } = ctx.principal;
  return withTenant(deps.db, tenant, async (trx) => {
    const row = await readTenant(trx, tenant);
    const month = await trx
      .selectFrom('ledger_accounts')
      .select(['settled_micro_usd', 'reserved_micro_usd'])
      .where('id', '=', tenantMonthAccount(Date.now()))
      .executeTakeFirst();
    return {
      tenant: toTenant(row),
      monthSettledMicroUsd: BigInt(month?.settled_micro_usd ?? 0),
      monthReservedMicroUsd: BigInt(month?.reserved_micro_usd ?? 0),
    };
  });
}
