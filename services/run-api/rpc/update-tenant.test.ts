import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { tenantMonthAccount } from '#domain/ids.ts';
import { RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { openMonths } from '#platform/database/accounts.ts';
import { connect } from '#platform/database/connect.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type RunApiBench, runApiBench } from '#test/support/run-api.ts';

let bench: RunApiBench;

beforeAll(async () => {
  bench = await runApiBench();
}, 120_000);

afterAll(() => bench.stop(), 60_000);

test('what is set changes, the rest stays, and it is audited', async () => {
  const tenant = await bench.database.tenant({ allowed_email_domains: ['old.example'] });
  const { admin } = bench.as({ tenant });
  const before = await admin.getTenant({});
  expect(before).toMatchObject({
    tenant: {
      id: tenant,
      tier: 'pro',
      maxConcurrentRuns: 100,
      usersMayConfirm: true,
      allowedEmailDomains: ['old.example'],
    },
    monthSettledMicroUsd: 0n,
    monthReservedMicroUsd: 0n,
  });
  const changed = await admin.updateTenant({ tier: 'enterprise', usersMayConfirm: false, maxRunsPerDay: 0 });
  expect(changed.tenant).toEqual({
    ...before.tenant,
    tier: 'enterprise',
    usersMayConfirm: false,
    maxRunsPerDay: 0,
  });
  const domains = await admin.updateTenant({ allowedEmailDomains: { domains: ['client.example', 'client.example'] } });
  expect(domains.tenant?.allowedEmailDomains).toEqual(['client.example']);
  expect((await admin.updateTenant({ allowedEmailDomains: {} })).tenant?.allowedEmailDomains).toEqual([]);
  expect((await admin.updateTenant({})).tenant?.tier).toBe('enterprise');
  const audit = await bench.database.query('select action, data from steward.audit_log where tenant = $1 order by id', [
    tenant,
  ]);
  expect(audit).toHaveLength(3);
  expect(audit[0]).toEqual({
    action: 'tenant.update',
    data: { tier: 'enterprise', users_may_confirm: false, max_runs_per_day: 0 },
  });
});

test('a raised month counts at once, for new runs and for those that wait; a raised number of slots too', async () => {
  const tenant = await bench.tenant({ month_budget_micro_usd: 1_000, max_concurrent_runs: 1 });
  const run = await bench.start(tenant);
  const waiting = await bench.start(tenant);
  expect(waiting.status).toBe(RunStatus.QUEUED);
  await bench.database.query("update steward.agent_runs set status = 'budget_exceeded' where id = $1", [run.id]);
  await bench.database.query(
    "update steward.ledger_accounts set settled_micro_usd = 1000 where tenant = $1 and id like 'tenant%'",
    [tenant],
  );
  expect((await stewardErrorOf(bench.start(tenant))).code).toBe('BUDGET_EXCEEDED');
  const { admin, runs } = bench.as({ tenant });
  await admin.updateTenant({ monthBudgetMicroUsd: 2_000n, maxConcurrentRuns: 2 });
  const owed = await bench.database.query(
    "select kind from steward.outbox where run_id = $1 and kind = 'raise_budget'",
    [run.id],
  );
  expect(owed).toHaveLength(1);
  expect((await runs.getRun({ runId: waiting.id })).run?.status).toBe(RunStatus.PENDING);
  await bench.start(tenant);
  expect(await admin.getTenant({})).toMatchObject({ monthSettledMicroUsd: 1_000n });
});

test('values out of their range are all named, and roles are kept', async () => {
  const tenant = await bench.database.tenant();
  const { admin } = bench.as({ tenant });
  const error = await stewardErrorOf(
    admin.updateTenant({
      tier: 'gold',
      monthBudgetMicroUsd: -1n,
      maxConcurrentRuns: 10_001,
      maxRunsPerDay: -1,
      allowedEmailDomains: { domains: ['ok.example', 'Not Ok', 'localhost', '*.example', 'a..b'] },
    }),
  );
  expect(error.code).toBe('INVALID_REQUEST');
  for (const field of ['tier', 'month_budget_micro_usd', 'max_concurrent_runs', 'max_runs_per_day']) {
    expect(error.message).toContain(`${field} must be`);
  }
  for (const index of [1, 2, 3, 4]) expect(error.message).toContain(`allowed_email_domains[${index}]`);
  expect(error.message).not.toContain('allowed_email_domains[0]');
  for (const role of ['operator', 'auditor'] as const) {
    const reader = bench.as({ tenant, roles: [role] }).admin;
    expect((await reader.getTenant({})).tenant?.id).toBe(tenant);
    expect((await stewardErrorOf(reader.updateTenant({ tier: 'free' }))).code).toBe('ROLE_MISSING');
  }
  const user = bench.as({ tenant, roles: ['user'] }).admin;
  expect((await stewardErrorOf(user.getTenant({}))).code).toBe('ROLE_MISSING');
  expect((await stewardErrorOf(bench.as({ tenant: 'nobody' }).admin.getTenant({}))).code).toBe('NOT_FOUND');
});

test('a tier that gives no numbers is refused to a tenant that has none of its own, and nothing changes', async () => {
  const bare = { month_budget_micro_usd: null, max_concurrent_runs: null, max_runs_per_day: null };
  const tenant = await bench.database.tenant({ tier: 'free', ...bare });
  const { admin } = bench.as({ tenant });
  const error = await stewardErrorOf(admin.updateTenant({ tier: 'enterprise', maxConcurrentRuns: 5 }));
  expect(error).toMatchObject({ code: 'INVALID_REQUEST' });
  expect(error.message).toContain('set month_budget_micro_usd');
  expect((await admin.getTenant({})).tenant).toMatchObject({ tier: 'free', maxConcurrentRuns: 2 });
  const own = { monthBudgetMicroUsd: 1_000_000n, maxConcurrentRuns: 5, maxRunsPerDay: 9 };
  expect((await admin.updateTenant({ tier: 'enterprise', ...own })).tenant).toMatchObject({ tier: 'enterprise' });
});

test('a limit that is lowered while the month is being opened holds for that month', async () => {
  const tenant = await bench.database.tenant({ month_budget_micro_usd: 1_000_000 });
  const worker = connect<Database>(await bench.database.urlAs('steward_worker'));
  const account = tenantMonthAccount(Date.now());
  const [opened, go] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  const turn = withTenant(worker.db, tenant, async (trx) => {
    await openMonths(trx, tenant, 'ann@acme', new Date());
    opened.resolve();
    await go.promise;
  });
  await opened.promise;
  const update = bench.as({ tenant }).admin.updateTenant({ monthBudgetMicroUsd: 7n });
  // Until it waits for the turn, or is done without having seen the account.
  let done = false;
  const ended = update.finally(() => {
    done = true;
  });
  for (let looks = 0; looks < 2_000 && !done; looks += 1) {
    const [waiting] = await bench.database.query<{ n: number }>(
      "select count(*)::int as n from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
    );
    if (waiting && waiting.n > 0) break;
  }
  go.resolve();
  await turn;
  expect((await ended).tenant?.monthBudgetMicroUsd).toBe(7n);
  await worker.close();
  const rows = await bench.database.query(
    'select limit_micro_usd::int as limit from steward.ledger_accounts where tenant = $1 and id = $2',
    [tenant, account],
  );
  expect(rows).toEqual([{ limit: 7 }]);
});
