import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Transaction, Updateable } from 'kysely';
import type { ChargePolicy } from '#domain/run.ts';
import type {
  SetLimitsRequest,
  SetLimitsResponseSchema,
  Setting,
  TenantLimits,
} from '#gen/steward/budget/v1/budget_service_pb.ts';
import { lockSettings } from '#platform/database/accounts.ts';
import { startQueued } from '#platform/database/admission.ts';
import { audit } from '#platform/database/journal.ts';
import type { Database, TenantsTable } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { balancesOf, isPlatform, openAccounts } from '../budget/levels.ts';
import { applyLimits, refuseWithoutNumbers, tellWaiting } from '../budget/limits.ts';
import { setProductLimit } from '../budget/product.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { readTenant } from '../views/tenant.ts';

const MOST_MONEY = 1_000_000_000_000;
const TIERS: readonly string[] = ['', 'free', 'pro', 'enterprise'];
const POLICIES: readonly string[] = ['', 'as_used', 'refund_failed', 'refund_unfinished'];

/** Sets the limits of the tenant, of one of its users, or of the product, from now on and of this month. */
export async function setLimits(
  ctx: CallContext,
  deps: RunApiDeps,
  request: SetLimitsRequest,
): Promise<MessageInitShape<typeof SetLimitsResponseSchema>> {
  const { tenant, subject: actor } = ctx.principal;
  const { scope, reason } = request;
  const checks = new Checks();
  checks.text('reason', reason, { max: 500 });
  checks.that(scope.case !== undefined, 'scope', 'is needed: tenant, user or product');
  if (scope.case === 'tenant') checkTenant(checks, scope.value);
  if (scope.case === 'user') {
    checks.line('user.user', scope.value.user, { min: 1, max: 200 });
    checkSetting(checks, 'user.month_micro_usd', scope.value.monthMicroUsd, MOST_MONEY, true);
  }
  if (scope.case === 'product') {
    checkSetting(checks, 'product.month_micro_usd', scope.value.monthMicroUsd, MOST_MONEY, true);
  }
  checks.done();
  const done = await withTenant(deps.db, tenant, async (trx) => {
    await readTenant(trx, tenant);
    const user = scope.case === 'user' ? scope.value.user : null;
    await lockSettings(trx, tenant);
    const changes: Record<string, unknown> = {};
    if (scope.case === 'tenant') Object.assign(changes, await changeTenant(trx, tenant, scope.value));
    if (scope.case === 'user') {
      const micro = numberOf(scope.value.monthMicroUsd) ?? null;
      await changeUser(trx, tenant, scope.value.user, micro, actor);
      Object.assign(changes, { user, month_limit_micro_usd: micro });
    }
    const outbox: number[] = [];
    if (scope.case === 'product') {
      const micro = numberOf(scope.value.monthMicroUsd) ?? null;
      await setProductLimit(trx, tenant, micro);
      Object.assign(changes, { product_month_limit_micro_usd: micro });
    } else if (await applyLimits(trx, tenant)) {
      outbox.push(...(await tellWaiting(trx, tenant, user ?? undefined)));
    }
    const data = { scope: scope.case, ...changes, reason };
    await audit(trx, tenant, { actor, action: 'budget.set_limits', data });
    if (scope.case === 'tenant') outbox.push(...(await startQueued(trx, tenant)));
    return outbox;
  });
  await deps.deliveries.send(tenant, done);
  return withTenant(deps.db, tenant, async (trx) => {
    const user = scope.case === 'user' ? scope.value.user : undefined;
    if (scope.case !== 'product') await openAccounts(trx, tenant, user ?? null);
    const product = await isPlatform(trx, tenant);
    const asked = { ...(user === undefined ? {} : { user }), tenant: scope.case !== 'product', product };
    return { levels: await balancesOf(trx, asked) };
  });
}

function checkTenant(checks: Checks, limits: TenantLimits): void {
  checks.that(TIERS.includes(limits.tier), 'tenant.tier', `must be one of ${TIERS.slice(1).join(', ')}`);
  const policies = POLICIES.slice(1).join(', ');
  checks.that(POLICIES.includes(limits.chargePolicy), 'tenant.charge_policy', `must be one of ${policies}`);
  checkSetting(checks, 'tenant.month_budget_micro_usd', limits.monthBudgetMicroUsd, MOST_MONEY);
  checkSetting(checks, 'tenant.max_concurrent_runs', limits.maxConcurrentRuns, 10_000);
  checkSetting(checks, 'tenant.max_runs_per_day', limits.maxRunsPerDay, 1_000_000);
  checkSetting(checks, 'tenant.user_month_micro_usd', limits.userMonthMicroUsd, MOST_MONEY);
}

function checkSetting(checks: Checks, field: string, setting: Setting | undefined, most: number, needed = false): void {
  checks.that(!needed || setting?.value.case !== undefined, field, 'is needed: a number, or inherited');
  if (setting?.value.case !== 'number') return;
  const { value } = setting.value;
  checks.that(value >= 0n && value <= BigInt(most), field, `must be 0 to ${most}`);
}

/** The number that is set, null where it is inherited, undefined where it stays. */
function numberOf(setting: Setting | undefined): number | null | undefined {
  if (setting?.value.case === 'number') return Number(setting.value.value);
  return setting?.value.case === 'inherited' && setting.value.value ? null : undefined;
}

async function changeTenant(
  trx: Transaction<Database>,
  tenant: string,
  limits: TenantLimits,
): Promise<Readonly<Record<string, unknown>>> {
  const all = {
    month_budget_micro_usd: numberOf(limits.monthBudgetMicroUsd),
    max_concurrent_runs: numberOf(limits.maxConcurrentRuns),
    max_runs_per_day: numberOf(limits.maxRunsPerDay),
    user_month_micro_usd: numberOf(limits.userMonthMicroUsd),
    tier: limits.tier === '' ? undefined : (limits.tier as 'free'),
    charge_policy: limits.chargePolicy === '' ? undefined : (limits.chargePolicy as ChargePolicy),
  };
  const changes = Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
  if (Object.keys(changes).length === 0) return {};
  await trx
    .updateTable('tenants')
    .set(changes as Updateable<TenantsTable>)
    .where('id', '=', tenant)
    .execute();
  await refuseWithoutNumbers(trx, tenant);
  return changes;
}

async function changeUser(
  trx: Transaction<Database>,
  tenant: string,
  user: string,
  micro: number | null,
  by: string,
): Promise<void> {
  if (micro === null) {
    await trx.deleteFrom('user_limits').where('subject', '=', user).execute();
    return;
  }
  const set = { month_limit_micro_usd: micro, set_by: by, set_at: new Date() };
  await trx
    .insertInto('user_limits')
    .values({ tenant, subject: user, ...set })
    .onConflict((conflict) => conflict.columns(['tenant', 'subject']).doUpdateSet(set))
    .execute();
}
