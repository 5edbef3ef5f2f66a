import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { sql } from 'kysely';
import { forecastOf } from '#domain/forecast.ts';
import type { GetForecastRequest, GetForecastResponseSchema } from '#gen/steward/budget/v1/budget_service_pb.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { balancesOf, openAccounts } from '../budget/levels.ts';
import type { RunApiDeps } from '../deps.ts';
import { readTenant } from '../views/tenant.ts';

/** Where the tenant's month ends at the rate of its last seven days. */
export async function getForecast(
  ctx: CallContext,
  deps: RunApiDeps,
  _request: GetForecastRequest,
): Promise<MessageInitShape<typeof GetForecastResponseSchema>> {
  const { tenant } = ctx.principal;
  return withTenant(deps.db, tenant, async (trx) => {
    await readTenant(trx, tenant);
    await openAccounts(trx, tenant, null);
    const [month] = await balancesOf(trx, { tenant: true, product: false });
    const { rows } = await sql<{ spent: number; first: Date | null }>`
      select coalesce(sum(settled_micro_usd), 0)::int8 as spent, min(created_at) as first
      from agent_run_costs where tenant = ${tenant} and created_at >= now() - interval '7 days'`.execute(trx);
    const basis = rows[0] ?? { spent: 0, first: null };
    const found = forecastOf({
      now: Date.now(),
      spent: basis.spent,
      since: basis.first?.getTime() ?? null,
      settled: Number(month?.settledMicroUsd ?? 0n),
      limit: month?.limitMicroUsd === undefined ? null : Number(month.limitMicroUsd),
    });
    return {
      ...(month === undefined ? {} : { month }),
      dailyMicroUsd: BigInt(found.daily),
      basisDays: found.days,
      basisMicroUsd: BigInt(basis.spent),
      forecastMicroUsd: BigInt(found.forecast),
      ...(found.exhaustedAt === null ? {} : { exhaustedAt: timestampFromMs(found.exhaustedAt) }),
    };
  });
}
