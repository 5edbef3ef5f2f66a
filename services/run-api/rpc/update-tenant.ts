import type { MessageInitShape } from '@bufbuild/protobuf';
import type { Transaction, Updateable } from 'kysely';
import type { UpdateTenantRequest, UpdateTenantResponseSchema } from '#gen/steward/admin/v1/admin_service_pb.ts';
import { startQueued } from '#platform/database/admission.ts';
import { audit } from '#platform/database/journal.ts';
import { enqueue } from '#platform/database/outbox.ts';
import type { Database, TenantsTable } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { ensureMonth } from '../starting/insert.ts';
import { readTenant, toTenant } from '../views/tenant.ts';

const MOST_BUDGET = 1_000_000_000_000n;
const MOST_DOMAINS = 100;
const DOMAIN = /^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$/;
const TIERS: readonly string[] = ['free', 'pro', 'enterprise'];
/** Waiting runs that are told of a raised month at once; the others hear of the next raise, or wait until they expire. */
const MOST_TOLD = 1_000;

/** Changes the settings that are set in the request. A raised limit lets queued and waiting runs go on at once. */
export async function updateTenant(
  ctx: CallContext,
  deps: RunApiDeps,
  request: UpdateTenantRequest,
): Promise<MessageInitShape<typeof UpdateTenantResponseSchema>> {
  const { tenant, subject } = ctx.principal;
  const changes = readChanges(request);
  const done = await withTenant(deps.db, tenant, async (trx) => {
    const before = await readTenant(trx, tenant);
    if (Object.keys(changes).length === 0) return { row: before, outbox: [] };
    // Opened first where it is new: one that a turn opens meanwhile would keep the limit that was.
    const month = changes.month_budget_micro_usd === undefined ? null : await ensureMonth(trx, tenant);
    await trx.updateTable('tenants').set(changes).where('id', '=', tenant).execute();
    const outbox: number[] = [];
    if (changes.month_budget_micro_usd !== undefined && month !== null) {
      await trx
        .updateTable('ledger_accounts')
        .set({ limit_micro_usd: changes.month_budget_micro_usd })
        .where('id', '=', month)
        .execute();
      if (changes.month_budget_micro_usd > before.month_budget_micro_usd)
        outbox.push(...(await tellWaiting(trx, tenant)));
    }
    await audit(trx, tenant, { actor: subject, action: 'tenant.update', data: { ...changes } });
    outbox.push(...(await startQueued(trx, tenant)));
    return { row: await readTenant(trx, tenant), outbox };
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

/** Runs that stand still for want of budget look again: it may have been the month's. */
async function tellWaiting(trx: Transaction<Database>, tenant: string): Promise<number[]> {
  const waiting = await trx
    .selectFrom('agent_runs')
    .select('id')
    .where('status', '=', 'budget_exceeded')
    .where('closed_at', 'is', null)
    .orderBy('created_at')
    .limit(MOST_TOLD)
    .execute();
  const outbox: number[] = [];
  for (const { id } of waiting) {
    outbox.push(await enqueue(trx, tenant, { kind: 'raise_budget', runId: id, payload: { raiseId: 'tenant-month' } }));
  }
  return outbox;
}
