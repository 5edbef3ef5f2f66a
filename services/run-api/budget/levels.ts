import type { MessageInitShape } from '@bufbuild/protobuf';
import { sql, type Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { monthOfAccount, runAccount, tenantMonthAccount, userMonthAccount } from '#domain/ids.ts';
import { type BalanceSchema, Level } from '#gen/steward/budget/v1/budget_service_pb.ts';
import { openMonths } from '#platform/database/accounts.ts';
import type { Database } from '#platform/database/tables.ts';

export type Balance = MessageInitShape<typeof BalanceSchema>;

/** Opens this month's accounts of the tenant, and of a user where one is named, so that there is something to show. */
export async function openAccounts(trx: Transaction<Database>, tenant: string, user: string | null): Promise<void> {
  await openMonths(trx, tenant, user, new Date());
}

/** The balances of the levels asked for, the narrowest first. */
export async function balancesOf(
  trx: Transaction<Database>,
  asked: { readonly run?: string; readonly user?: string; readonly tenant: boolean; readonly product: boolean },
): Promise<Balance[]> {
  const now = Date.now();
  const accounts = [
    ...(asked.run === undefined ? [] : [runAccount(asked.run)]),
    ...(asked.user === undefined ? [] : [userMonthAccount(now, asked.user)]),
    ...(asked.tenant ? [tenantMonthAccount(now)] : []),
  ];
  const rows = await trx
    .selectFrom('ledger_accounts')
    .select(['id', 'limit_micro_usd', 'reserved_micro_usd', 'settled_micro_usd'])
    .where('id', 'in', accounts.length === 0 ? [''] : accounts)
    .execute();
  const found = new Map(rows.map((row) => [row.id, row]));
  const balances = accounts.flatMap((id) => {
    const row = found.get(id);
    if (row === undefined) return [];
    return [balance(nameOf(id), row.limit_micro_usd, row.reserved_micro_usd, row.settled_micro_usd)];
  });
  return asked.product ? [...balances, await productBalance(trx, monthOf(now))] : balances;
}

/** The product's month. Only for people of the platform tenant: `assertPlatform` comes before. */
export async function productBalance(trx: Transaction<Database>, month: string): Promise<Balance> {
  const { rows } = await sql<{ most: number | null; reserved: number; settled: number }>`
    select (select m.limit_micro_usd from product_months m where m.month = ${month}) as most,
      coalesce(sum(reserved_micro_usd), 0)::int8 as reserved, coalesce(sum(settled_micro_usd), 0)::int8 as settled
    from product_accounts where month = ${month}`.execute(trx);
  const row = rows[0];
  const name = { level: Level.PRODUCT_MONTH, subject: '', month };
  return balance(name, row?.most ?? null, row?.reserved ?? 0, row?.settled ?? 0);
}

/** Whether the tenant is the one whose people see the product level. */
export async function isPlatform(trx: Transaction<Database>, tenant: string): Promise<boolean> {
  const row = await trx.selectFrom('product_settings').select('platform_tenant').executeTakeFirst();
  return row?.platform_tenant === tenant;
}

/** Throws NOT_PERMITTED where the tenant is not the platform's. */
export async function assertPlatform(trx: Transaction<Database>, tenant: string): Promise<void> {
  if (await isPlatform(trx, tenant)) return;
  throw new StewardError(
    'NOT_PERMITTED',
    'The product level is for people of the platform tenant. Who owns the database names it, in product_settings.',
  );
}

/** The current month, `yyyy-mm`. */
export function monthOf(now: number): string {
  return monthOfAccount(tenantMonthAccount(now)) ?? '';
}

function nameOf(account: string): { readonly level: Level; readonly subject: string; readonly month: string } {
  const month = monthOfAccount(account) ?? '';
  if (month === '') return { level: Level.RUN, subject: account.slice('run/'.length), month };
  if (account.startsWith('tenant-')) return { level: Level.TENANT_MONTH, subject: '', month };
  return { level: Level.USER_MONTH, subject: account.slice('user-month/yyyy-mm/'.length), month };
}

function balance(
  name: { readonly level: Level; readonly subject: string; readonly month: string },
  limit: number | null,
  reserved: number,
  settled: number,
): Balance {
  return {
    ...name,
    reservedMicroUsd: BigInt(reserved),
    settledMicroUsd: BigInt(settled),
    ...(limit === null
      ? {}
      : { limitMicroUsd: BigInt(limit), spendableMicroUsd: BigInt(Math.max(0, limit - settled - reserved)) }),
  };
}
