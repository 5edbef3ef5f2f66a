import type { MessageInitShape } from '@bufbuild/protobuf';
import { sql } from 'kysely';
import type { GetBudgetRequest, GetBudgetResponseSchema } from '#gen/steward/budget/v1/budget_service_pb.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { balancesOf, isPlatform, openAccounts } from '../budget/levels.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { readRun } from '../run-rows.ts';
import { readTenant } from '../views/tenant.ts';

/** The levels that pay for a run, a user, or the tenant's month, and what the tenant may run at once. */
export async function getBudget(
  ctx: CallContext,
  deps: RunApiDeps,
  request: GetBudgetRequest,
): Promise<MessageInitShape<typeof GetBudgetResponseSchema>> {
  const { tenant } = ctx.principal;
  const { runId } = request;
  const checks = new Checks();
  if (runId !== '') checks.runId(runId);
  checks.line('user', request.user, { max: 200 });
  checks.that(runId === '' || request.user === '', 'user', 'is for a request without run_id');
  checks.done();
  return withTenant(deps.db, tenant, async (trx) => {
    const settings = await readTenant(trx, tenant);
    const run = runId === '' ? null : await readRun(trx, ctx.principal, runId);
    const user = run?.acting_user ?? (request.user === '' ? null : request.user);
    if (user === null) await openAccounts(trx, tenant, null);
    const product = await isPlatform(trx, tenant);
    const { rows } = await sql<{ open: number; today: number; queued: number }>`
      select count(*) filter (where closed_at is null and status <> 'queued') as open,
        count(*) filter (where admitted_at >= date_trunc('day', now() at time zone 'utc') at time zone 'utc') as today,
        count(*) filter (where status = 'queued') as queued
      from agent_runs where tenant = ${tenant} and (closed_at is null
        or admitted_at >= date_trunc('day', now() at time zone 'utc') at time zone 'utc')`.execute(trx);
    const counts = rows[0] ?? { open: 0, today: 0, queued: 0 };
    return {
      levels: await balancesOf(trx, {
        ...(run === null ? {} : { run: run.id }),
        ...(user === null ? {} : { user }),
        tenant: true,
        product,
      }),
      tier: settings.tier,
      chargePolicy: settings.charge_policy,
      maxConcurrentRuns: settings.max_concurrent_runs,
      maxRunsPerDay: settings.max_runs_per_day,
      openRuns: counts.open,
      startedToday: counts.today,
      queuedRuns: counts.queued,
    };
  });
}
