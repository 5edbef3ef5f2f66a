import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Selectable, Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import type { TenantSchema } from '#gen/steward/admin/v1/admin_service_pb.ts';
import type { SettingsView } from '#platform/database/budget-tables.ts';
import type { Database, TenantsTable } from '#platform/database/tables.ts';

/** A tenant's row, with its settings as they count. */
export type TenantRow = Omit<Selectable<TenantsTable>, keyof SettingsView> & SettingsView;

/** The row of the transaction's tenant. Throws NOT_FOUND where a token names a tenant that is not set up. */
export async function readTenant(trx: Transaction<Database>, tenant: string): Promise<TenantRow> {
  const row = await trx
    .selectFrom('tenants as t')
    .innerJoin('tenant_settings as s', 's.id', 't.id')
    .selectAll('t')
    .selectAll('s')
    .where('t.id', '=', tenant)
    .executeTakeFirst();
  if (row !== undefined) return row as TenantRow;
  throw new StewardError(
    'NOT_FOUND',
    `Tenant ${tenant} of your token is not set up here. Ask an operator to create it.`,
  );
}

export function toTenant(row: TenantRow): MessageInitShape<typeof TenantSchema> {
  return {
    id: row.id,
    tier: row.tier,
    monthBudgetMicroUsd: BigInt(row.month_budget_micro_usd),
    maxConcurrentRuns: row.max_concurrent_runs,
    maxRunsPerDay: row.max_runs_per_day,
    usersMayConfirm: row.users_may_confirm,
    allowedEmailDomains: row.allowed_email_domains,
    sampledPerMille: row.sampled_per_mille,
  };
}
