import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { tenantMonthAccount } from '#domain/ids.ts';
import { answer, type Row, workerBench } from '#test/support/worker-bench.ts';
import { chargeDeadAttempt } from './budget.ts';
import { tellOfFreed, watchBudget } from './budget-watch.ts';
import { PRODUCT, tellOfProduct, watchProduct } from './product-watch.ts';
import { withTenant } from './tenant.ts';

let bench: Awaited<ReturnType<typeof workerBench>>;
const clock = { now: new Date('2027-03-10T12:00:10Z') };

beforeAll(async () => {
  bench = await workerBench({ now: () => clock.now });
}, 120_000);

afterAll(() => bench.stop());

const alarms = (tenant: string): Promise<Row[]> =>
  bench.database.query('select * from steward.budget_alarms where tenant = $1 order by id', [tenant]);

test('each level alarms once at 50, 75, 90 and 100 percent; what is about the run stands in its journal', async () => {
  const tenant = await bench.database.tenant({ month_budget_micro_usd: 12_000 });
  const run = await bench.run({ tenant, budget: 9_000 });
  for (const turn of [1, 2, 3]) {
    const { id } = await run.open(turn, { input: 100 });
    // 1 micro-USD a token of input: 100; 5 a token of output: 2,900.
    await bench.turns.storeAnswer(run.ref, turn, id, answer(undefined, { usage: { input: 100, output: 580 } }), 10);
  }
  const levels = (await alarms(tenant)).map(({ subject, step }) => `${String(subject).split('/')[0]} ${step}`);
  expect(levels).toEqual(['run 50', 'tenant-month 50', 'run 75', 'run 90', 'run 100', 'tenant-month 75']);
  const shown = (await run.events()).filter(({ kind }) => kind === 'budget.alarm').map(({ data }) => data.step);
  expect(shown).toEqual([50, 75, 90, 100]);
  const told = await withTenant(bench.db, tenant, (trx) => watchBudget(trx, tenant));
  expect(told).toHaveLength(6);
  expect(await withTenant(bench.db, tenant, (trx) => watchBudget(trx, tenant))).toEqual([]);
});

test('a dead attempt that is charged alarms like any other, and so does a limit that is lowered past what is spent', async () => {
  const tenant = await bench.database.tenant();
  const run = await bench.run({ tenant, budget: 9_000 });
  const { id } = await run.open(1, { input: 100 });
  const dead = { id, turn: 1 };
  await withTenant(bench.db, tenant, (trx) => chargeDeadAttempt(trx, run.ref, dead, clock.now));
  const cost = Number((await run.events()).find(({ kind }) => kind === 'turn.failed')?.data.cost);
  const steps = [50, 75, 90, 100].filter((step) => cost * 100 >= 9_000 * step);
  expect(steps.length).toBeGreaterThan(0);
  expect((await alarms(tenant)).map(({ subject, step }) => [subject, step])).toEqual(
    steps.map((step) => [`run/${run.ref.run}`, step]),
  );
  const month = tenantMonthAccount(Date.now());
  await bench.database.query(
    'insert into steward.ledger_accounts (tenant, id, limit_micro_usd, settled_micro_usd) values ($1, $2, 100, 80)',
    [tenant, month],
  );
  await withTenant(bench.db, tenant, (trx) => watchBudget(trx, tenant));
  await withTenant(bench.db, tenant, (trx) => watchBudget(trx, tenant));
  const late = (await alarms(tenant)).filter(({ subject }) => subject === month);
  expect(late.map(({ step, data }) => [step, data])).toEqual(
    [50, 75].map((step) => [step, { level: 'tenant_month', limit: 100, settled: 80 }]),
  );
});

test('a run at ten times what its agent costs alarms, and at fifty times it is stopped', async () => {
  const tenant = await bench.database.tenant();
  const run = await bench.run({
    tenant,
    budget: 10_000_000,
    columns: { typical_micro_usd: 5, max_output_tokens: 90_000 },
  });
  const spend = async (turn: number, output: number) => {
    const { id } = await run.open(turn, { input: 100 });
    return bench.turns.storeAnswer(run.ref, turn, id, answer(undefined, { usage: { input: 100, output } }), 10);
  };
  // Little things count as a cent: what is usual is 10,000.
  expect(await spend(1, 19_000)).toMatchObject({ runaway: false });
  expect(await alarms(tenant)).toEqual([]);
  expect(await spend(2, 2_000)).toMatchObject({ runaway: false });
  expect(await spend(3, 80_000)).toMatchObject({ runaway: true });
  expect((await alarms(tenant)).map(({ kind, step }) => [kind, step])).toEqual([
    ['runaway', 10],
    ['runaway_stopped', 50],
  ]);
  // Read again, it is still one.
  expect((await run.open(3)).opened).toMatchObject({ kind: 'stored', turn: { runaway: true } });
});

test('a user far beyond what is usual waits for the next minute, and is let go on when it has waited long enough', async () => {
  const tenant = await bench.database.tenant();
  const run = await bench.run({ tenant });
  await run.open(1, { input: 100 });
  const busy = `update steward.ledger_accounts set rate_calls = 60 where tenant = $1 and id like 'user-month/%'`;
  await bench.database.query(busy, [tenant]);
  const other = await bench.run({ tenant });
  expect((await other.open(1, { input: 100 })).opened).toMatchObject({ kind: 'reserved' });
  await bench.database.query(
    'insert into steward.tenant_baselines (tenant, p99_calls_per_minute, minutes) values ($1, 4, 100)',
    [tenant],
  );
  const until = new Date('2027-03-10T12:01:00Z').getTime();
  const late = await bench.run({ tenant });
  expect((await late.open(1, { input: 100 })).opened).toEqual({ kind: 'throttled', until });
  expect(await late.kinds()).toEqual(['turn.throttled']);
  expect(await alarms(tenant)).toMatchObject([{ kind: 'throttled' }]);
  const attempt = { id: randomUUID(), number: 1, deadlineAt: new Date(), unthrottled: true };
  expect(await bench.turns.openTurn(late.ref, 1, attempt, () => 100)).toMatchObject({ kind: 'reserved' });
  clock.now = new Date(until);
  expect((await (await bench.run({ tenant })).open(1, { input: 100 })).opened).toMatchObject({ kind: 'reserved' });
});

test("what is usual is measured by the sweeper: the 99th percentile of users' busy minutes", async () => {
  const tenant = await bench.database.tenant();
  const run = await bench.run({ tenant });
  await bench.database.query(
    `insert into steward.agent_run_costs (tenant, run_id, attempt_id, turn, model, state, month_account, user_account,
       reserved_micro_usd, deadline_at, created_at)
     select $1, $2, 'x' || m || '.' || c, 1, 'offline-1', 'settled', 'tenant-month/2027-03', 'user-month/2027-03/a', 0, now(),
       date_trunc('minute', now()) - m * interval '1 minute' + c * interval '1 second'
     from generate_series(1, 100) m, generate_series(1, 3) c`,
    [tenant, run.ref.run],
  );
  await withTenant(bench.db, tenant, (trx) => watchBudget(trx, tenant));
  const base = 'select p99_calls_per_minute as p99, minutes from steward.tenant_baselines where tenant = $1';
  expect(await bench.database.query(base, [tenant])).toEqual([{ p99: 3, minutes: 100 }]);
});

test('a day and a minute far above what is usual alarm for the product, once', async () => {
  const [{ total = 0 } = {}] = await bench.database.query<{ total: number }>(
    'select coalesce(sum(settled_micro_usd), 0)::float8 as total from steward.product_accounts',
  );
  const now = new Date('2027-04-10T12:00:00Z');
  // A dollar a day for eight days, and a minute ago nothing was unusual.
  await bench.database.query(
    `insert into steward.product_samples (at, settled_micro_usd)
     select $1::timestamptz - interval '12 hours' - n * interval '1 day', $2::int8 - 7000000 - n * 1000000
     from generate_series(0, 8) n
     union all select $1::timestamptz - n * interval '1 minute', $2::int8 - 7000000 from generate_series(1, 59) n`,
    [now, total + 20_000_000],
  );
  await bench.database.query(`insert into steward.product_months values ('2027-04', null) on conflict do nothing`);
  await bench.database.query(
    `insert into steward.product_accounts (month, part, settled_micro_usd) values ('2027-04', 0, 20000000)`,
  );
  const found = await withTenant(bench.db, PRODUCT, (trx) => watchProduct(trx, now));
  expect(found.map(({ kind, subject }) => [kind, subject]).toSorted()).toEqual([
    ['day', '2027-04-10'],
    ['minute', '2027-04-10T12'],
  ]);
  expect(found.find(({ kind }) => kind === 'day')?.data).toEqual({ spent: 7_000_000, average: 1_000_000, days: 7 });
  expect(await withTenant(bench.db, PRODUCT, (trx) => watchProduct(trx, now))).toEqual([]);
});

test('a run that others’ reservations kept from going on is told once what they held is free', async () => {
  const tenant = await bench.database.tenant({ month_budget_micro_usd: 4_000 });
  const first = await bench.run({ tenant });
  const { id } = await first.open(1, { input: 100 });
  const waiting = await bench.run({ tenant });
  expect((await waiting.open(1, { input: 100 })).opened).toMatchObject({ kind: 'budget', level: 'tenant_month' });
  const freed = () => withTenant(bench.db, tenant, (trx) => tellOfFreed(trx, tenant, clock.now));
  expect(await freed()).toEqual([]);
  await bench.turns.storeAnswer(first.ref, 1, id, answer(undefined, { usage: { input: 100, output: 10 } }), 10);
  const told = await freed();
  expect(told).toHaveLength(1);
  const [row] = await bench.database.query('select run_id, kind from steward.outbox where id = $1', [told[0]]);
  expect(row).toEqual({ run_id: waiting.ref.run, kind: 'raise_budget' });
  expect(await freed()).toEqual([]);
  expect((await waiting.open(1, { input: 100 })).opened).toMatchObject({ kind: 'reserved' });
});

test('runs that wait for the product are told once when there is more of it', async () => {
  const tenant = await bench.database.tenant();
  const run = await bench.run({ tenant, columns: { status: 'budget_exceeded' } });
  await bench.database.query(
    `insert into steward.agent_run_events (tenant, run_id, sequence, kind, data)
     values ($1, $2, 99, 'budget.exhausted', '{"level": "product_month"}')`,
    [tenant, run.ref.run],
  );
  const tell = () => withTenant(bench.db, tenant, (trx) => tellOfProduct(trx, tenant));
  expect(await tell()).toEqual([]);
  await bench.database.query('update steward.product_settings set raised_at = now()');
  expect(await tell()).toHaveLength(1);
  expect(await tell()).toEqual([]);
});
