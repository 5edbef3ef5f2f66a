import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { BudgetService, Level } from '#gen/steward/budget/v1/budget_service_pb.ts';
import { type Client, type Connection, connect } from '#platform/grpc/client.ts';
import type { Role } from '#platform/identity/principal.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type RunApiBench, runApiBench } from '#test/support/run-api.ts';

let bench: RunApiBench;
const open: Connection<typeof BudgetService>[] = [];

beforeAll(async () => {
  bench = await runApiBench();
}, 120_000);

afterAll(async () => {
  for (const connection of open) connection.close();
  await bench.stop();
}, 60_000);

function as(tenant: string, roles: readonly Role[] = ['admin']): Client<typeof BudgetService> {
  const token = () => bench.issuer.token({ subject: 'ann@acme', tenant, roles }, 600);
  const connection = connect(BudgetService, { address: bench.address, token });
  open.push(connection);
  return connection.client;
}

const number = (value: bigint) => ({ value: { case: 'number', value } as const });
const inherited = { value: { case: 'inherited', value: true } as const };

test('a tier gives what the tenant has not set itself, and a new one counts at once, this month included', async () => {
  const tenant = await bench.database.tenant({
    tier: 'free',
    month_budget_micro_usd: null,
    max_concurrent_runs: null,
    max_runs_per_day: 7,
  });
  const budget = as(tenant);
  expect(await budget.getBudget({})).toMatchObject({
    tier: 'free',
    chargePolicy: 'as_used',
    maxConcurrentRuns: 2,
    maxRunsPerDay: 7,
    levels: [{ level: Level.TENANT_MONTH, limitMicroUsd: 5_000_000n, spendableMicroUsd: 5_000_000n }],
  });
  await budget.topUp({ requestId: 'more', level: Level.TENANT_MONTH, addMicroUsd: 1_000_000n, reason: 'launch' });
  const pro = await budget.setLimits({ scope: { case: 'tenant', value: { tier: 'pro' } }, reason: 'grown' });
  // What was added to this month stays on top.
  expect(pro.levels).toMatchObject([{ limitMicroUsd: 51_000_000n }]);
  expect(await budget.getBudget({})).toMatchObject({ tier: 'pro', maxConcurrentRuns: 10, maxRunsPerDay: 7 });
  const bare = { case: 'tenant', value: { tier: 'enterprise' } } as const;
  expect((await stewardErrorOf(budget.setLimits({ scope: bare }))).code).toBe('INVALID_REQUEST');
  const own = { monthBudgetMicroUsd: number(9_000_000n), maxConcurrentRuns: number(3n), chargePolicy: 'refund_failed' };
  await budget.setLimits({ scope: { case: 'tenant', value: { tier: 'enterprise', ...own } } });
  expect(await budget.getBudget({})).toMatchObject({ maxConcurrentRuns: 3, chargePolicy: 'refund_failed' });
  const back = { case: 'tenant', value: { tier: 'pro', monthBudgetMicroUsd: inherited } } as const;
  expect((await budget.setLimits({ scope: back })).levels).toMatchObject([{ limitMicroUsd: 51_000_000n }]);
  const audit = await bench.database.query<{ action: string }>(
    `select action from steward.audit_log where tenant = $1 and action like 'budget.%' order by id`,
    [tenant],
  );
  expect(audit.map(({ action }) => action)).toEqual([
    'budget.top_up',
    'budget.set_limits',
    'budget.set_limits',
    'budget.set_limits',
  ]);
});

test("a user's month: set, topped up once, taken back; runs that wait for it are told", async () => {
  const tenant = await bench.tenant();
  const run = await bench.start(tenant);
  await bench.database.query("update steward.agent_runs set status = 'budget_exceeded' where id = $1", [run.id]);
  const budget = as(tenant);
  const limits = (month: typeof inherited | ReturnType<typeof number>) =>
    budget.setLimits({ scope: { case: 'user', value: { user: 'ann@acme', monthMicroUsd: month } } });
  expect((await limits(number(500n))).levels[0]).toMatchObject({ subject: 'ann@acme', limitMicroUsd: 500n });
  const more = { level: Level.USER_MONTH, subject: 'ann@acme', addMicroUsd: 100n, reason: 'r' };
  const requestId = randomUUID();
  await budget.topUp({ requestId, ...more });
  expect((await budget.topUp({ requestId, ...more })).balance).toMatchObject({ limitMicroUsd: 600n });
  const other = budget.topUp({ requestId, ...more, addMicroUsd: 101n });
  expect((await stewardErrorOf(other)).code).toBe('REQUEST_ID_REUSED');
  const owed = await bench.database.query<{ n: number }>(
    `select count(*)::int as n from steward.outbox where run_id = $1 and kind = 'raise_budget'`,
    [run.id],
  );
  // A first limit is less than none was: only the top-up had news.
  expect(owed).toEqual([{ n: 1 }]);
  const shown = await budget.getBudget({ runId: run.id });
  expect(shown.levels.map(({ level }) => level)).toEqual([Level.RUN, Level.USER_MONTH, Level.TENANT_MONTH]);
  await limits(inherited);
  expect((await budget.getBudget({ user: 'ann@acme' })).levels[0]?.limitMicroUsd).toBeUndefined();
  const ledger = await budget.listEntries({ level: Level.USER_MONTH, subject: 'ann@acme' });
  expect(ledger.entries).toMatchObject([{ kind: 'raise', amountMicroUsd: 100n, bySubject: 'ann@acme', reason: 'r' }]);
  await budget.topUp({ requestId: randomUUID(), level: Level.RUN, subject: run.id, addMicroUsd: 5n });
  const ofRun = await budget.listEntries({ level: Level.RUN, subject: run.id, pageSize: 1 });
  expect(ofRun).toMatchObject({ entries: [{ kind: 'raise', amountMicroUsd: 5n, runId: run.id }], nextPageToken: '' });
});

test('a run is not started where its user has nothing left', async () => {
  const tenant = await bench.tenant({ user_month_micro_usd: 0 });
  expect(await stewardErrorOf(bench.start(tenant))).toMatchObject({
    code: 'BUDGET_EXCEEDED',
    details: { level: 'user_month' },
  });
});

test('a top-up that is repeated in the next month is the one that was made', async () => {
  const tenant = await bench.tenant();
  const budget = as(tenant);
  const top = { requestId: 'midnight', level: Level.TENANT_MONTH, addMicroUsd: 100n, reason: 'more' } as const;
  const { balance } = await budget.topUp(top);
  await bench.database.query(
    "insert into steward.ledger_accounts (tenant, id, limit_micro_usd) values ($1, 'tenant-month/2020-01', 1)",
    [tenant],
  );
  await bench.database.query(
    "update steward.ledger_entries set account = 'tenant-month/2020-01' where tenant = $1 and raise_id = 'midnight'",
    [tenant],
  );
  expect((await budget.topUp(top)).balance?.limitMicroUsd).toBe(balance?.limitMicroUsd);
});

test('the product level is for people of the platform tenant, and holds for all tenants', async () => {
  const [platform, other] = [await bench.tenant(), await bench.tenant()];
  const product = (value: bigint) => ({ case: 'product', value: { monthMicroUsd: number(value) } }) as const;
  const refused = as(platform).setLimits({ scope: product(1n) });
  expect((await stewardErrorOf(refused)).code).toBe('NOT_PERMITTED');
  await bench.database.query('update steward.product_settings set platform_tenant = $1', [platform]);
  const top = { level: Level.PRODUCT_MONTH, addMicroUsd: 100n } as const;
  const early = as(platform).topUp({ requestId: 'p0', ...top });
  expect((await stewardErrorOf(early)).code).toBe('WRONG_STATE');
  expect((await as(platform).setLimits({ scope: product(0n) })).levels).toMatchObject([
    { level: Level.PRODUCT_MONTH, limitMicroUsd: 0n },
  ]);
  expect((await stewardErrorOf(bench.start(other))).details).toEqual({ level: 'product_month' });
  for (const call of [
    as(other).setLimits({ scope: product(1_000_000n) }),
    as(other).topUp({ requestId: 'p1', ...top }),
    as(other).listAlarms({ product: true }),
    as(other).acknowledgeAlarm({ product: true, id: 1n }),
  ]) {
    expect((await stewardErrorOf(call)).code).toBe('NOT_PERMITTED');
  }
  expect((await as(other).getBudget({})).levels.map(({ level }) => level)).toEqual([Level.TENANT_MONTH]);
  await as(platform).topUp({ requestId: 'p2', ...top });
  expect((await as(platform).topUp({ requestId: 'p2', ...top })).balance).toMatchObject({ limitMicroUsd: 100n });
  await bench.start(other);
  // Parts that have used more and less than others, and a limit below all that was used.
  await as(platform).setLimits({ scope: product(1_000_000n) });
  await bench.database.query(
    'update steward.product_accounts set settled_micro_usd = case part when 0 then 100000 when 3 then 50 else 0 end',
  );
  expect((await as(platform).setLimits({ scope: product(50_000n) })).levels).toMatchObject([
    { limitMicroUsd: 50_100n, settledMicroUsd: 100_050n },
  ]);
  expect((await stewardErrorOf(bench.start(other))).details).toEqual({ level: 'product_month' });
  await bench.database.query('update steward.product_accounts set settled_micro_usd = 6000');
  await bench.start(other);
  await bench.database.query('update steward.product_accounts set settled_micro_usd = 0');
  await as(platform).setLimits({ scope: { case: 'product', value: { monthMicroUsd: inherited } } });
  expect((await as(platform).getBudget({})).levels.at(-1)).toMatchObject({ level: Level.PRODUCT_MONTH });
});

test('alarms are listed and acknowledged once; a forecast says by what it was made; roles are kept', async () => {
  const tenant = await bench.tenant();
  await bench.database.query(
    `insert into steward.budget_alarms (tenant, kind, subject, step, data)
     select $1, 'level', 'tenant-month/2026-11', n, '{"limit": 5}' from unnest(array[50, 75]) n`,
    [tenant],
  );
  const budget = as(tenant);
  const first = await budget.listAlarms({ open: true, pageSize: 1 });
  expect(first.alarms).toMatchObject([{ kind: 'level', step: 75, evidenceJson: '{"limit":5}' }]);
  const second = await budget.listAlarms({ open: true, pageSize: 1, pageToken: first.nextPageToken });
  expect(second.alarms).toMatchObject([{ step: 50 }]);
  const id = first.alarms[0]?.id ?? 0n;
  expect((await budget.acknowledgeAlarm({ id })).alarm?.acknowledgedBy).toBe('ann@acme');
  expect((await budget.listAlarms({ open: true })).alarms).toHaveLength(1);
  expect((await budget.listAlarms({})).alarms).toHaveLength(2);
  const elsewhere = as(await bench.tenant()).acknowledgeAlarm({ id });
  expect((await stewardErrorOf(elsewhere)).code).toBe('NOT_FOUND');
  expect(await budget.getForecast({})).toMatchObject({ basisDays: 7, forecastMicroUsd: 0n });
  const scope = { case: 'tenant', value: { tier: 'pro' } } as const;
  for (const call of [
    () => as(tenant, ['operator']).setLimits({ scope }),
    () => as(tenant, ['operator']).topUp({ requestId: 'x', level: Level.TENANT_MONTH, addMicroUsd: 1n }),
    () => as(tenant, ['auditor']).acknowledgeAlarm({ id }),
    () => as(tenant, ['user']).getBudget({}),
  ]) {
    expect((await stewardErrorOf(call())).code).toBe('ROLE_MISSING');
  }
});
