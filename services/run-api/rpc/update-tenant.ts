import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Updateable } from 'kysely';
import type { UpdateTenantRequest, UpdateTenantResponseSchema } from '#gen/steward/admin/v1/admin_service_pb.ts';
import { lockSettings } from '#platform/database/accounts.ts';
import { startQueued } from '#platform/database/admission.ts';
import { audit } from '#platform/database/journal.ts';
import type { TenantsTable } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { applyLimits, refuseWithoutNumbers, tellWaiting } from '../budget/limits.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { readTenant, toTenant } from '../views/tenant.ts';

const MOST_BUDGET = 1_000_000_000_000n;
const MOST_DOMAINS = 100;
const DOMAIN = /^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$/;
const TIERS: readonly string[] = ['free', 'pro', 'enterprise'];

/** Changes the settings that are set in the request. A raised limit lets queued and waiting runs go on at once. */
export async function updateTenant(
  ctx: CallContext,
  deps: RunApiDeps,
  request: UpdateTenantRequest,
): Promise<MessageInitShape<typeof UpdateTenantResponseSchema>> {
  const { tenant, subject } = ctx.principal;
  const changes = readChanges(request);
  const done = await withTenant(deps.db, tenant, async (trx) => {
    if (Object.keys(changes).length === 0) return { row: await readTenant(trx, tenant), outbox: [] };
    await lockSettings(trx, tenant);
    await trx.updateTable('tenants').set(changes).where('id', '=', tenant).execute();
    await refuseWithoutNumbers(trx, tenant);
    const row = await readTenant(trx, tenant);
    const outbox = (await applyLimits(trx, tenant)) ? await tellWaiting(trx, tenant) : [];
    await audit(trx, tenant, { actor: subject, action: 'tenant.update', data: { ...changes } });
    outbox.push(...(await startQueued(trx, tenant)));
    return { row, outbox };
  });
  await deps.deliveries.send(tenant, done.outbox);
  return { tenant: toTenant(done.row) };
}

/** Throws INVALID_REQUEST with everything that is out of its range. */
function readChanges(request: UpdateTenantRequest): Updateable<TenantsTable> {
  const { tier, monthBudgetMicroUsd: budget, maxConcurrentRuns, maxRunsPerDay, usersMayConfirm } = request;
  const domains = request.allowedEmailDomains?.domains;
  const checks = new Checks();
  checks.that(tier === undefined || TIERS.includes(tier), 'tier', `must be one of ${TIERS.join(', ')}`);
  const affordable = budget === undefined || (budget >= 0n && budget <= MOST_BUDGET);
  checks.that(affordable, 'month_budget_micro_usd', `must be 0 to ${MOST_BUDGET}`);
  checks.that(within(maxConcurrentRuns, 10_000), 'max_concurrent_runs', 'must be 0 to 10000');
  checks.that(within(maxRunsPerDay, 1_000_000), 'max_runs_per_day', 'must be 0 to 1000000');
  checks.that(within(request.sampledPerMille, 1_000), 'sampled_per_mille', 'must be 0 to 1000');
  checks.that((domains ?? []).length <= MOST_DOMAINS, 'allowed_email_domains', `must be at most ${MOST_DOMAINS}`);
  for (const [index, domain] of (domains ?? []).entries()) {
    const fits = DOMAIN.test(domain);
    checks.that(fits, `allowed_email_domains[${index}]`, 'must be a domain in lower case, such as client.example');
  }
  checks.done();
  return {
    ...(tier === undefined ? {} : { tier: tier as 'free' | 'pro' | 'enterprise' }),
    ...(budget === undefined ? {} : { month_budget_micro_usd: Number(budget) }),
    ...(maxConcurrentRuns === undefined ? {} : { max_concurrent_runs: maxConcurrentRuns }),
    ...(maxRunsPerDay === undefined ? {} : { max_runs_per_day: maxRunsPerDay }),
    ...(usersMayConfirm === undefined ? {} : { users_may_confirm: usersMayConfirm }),
    ...(request.sampledPerMille === undefined ? {} : { sampled_per_mille: request.sampledPerMille }),
    ...(domains === undefined ? {} : { allowed_email_domains: [...new Set(domains)] }),
  };
}

function within(value: number | undefined, most: number): boolean {
  return value === undefined || (value >= 0 && value <= most);
}
