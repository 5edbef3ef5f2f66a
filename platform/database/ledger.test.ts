import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { isStewardError } from '#domain/errors.ts';
import { runAccount, tenantMonthAccount } from '#domain/ids.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type StewardDatabase, stewardDatabase } from '#test/support/steward-database.ts';
import { lockRemainders } from './accounts.ts';
import { chargeDeadAttempt } from './budget.ts';
import { type Connection, connect } from './connect.ts';
import { chargeDead, lockAttempt, reserve, runCost, settle } from './ledger.ts';
import { lockRun } from './run-row.ts';
import type { Database } from './tables.ts';
import { withTenant } from './tenant.ts';

let database: StewardDatabase;
let pool: Connection<Database>;
let runApi: Connection<Database>;

beforeAll(async () => {
  database = await stewardDatabase();
  pool = connect<Database>(await database.urlAs('steward_worker'), { max: 16, connectMs: 20_000 });
  runApi = connect<Database>(await database.urlAs('steward_run_api'), { max: 8, connectMs: 20_000 });
}, 120_000);

afterAll(async () => {
  await pool.close();
  await runApi.close();
  await database.drop();
});

const NOW = new Date('2026-11-21T12:00:00Z');
const MONTH = tenantMonthAccount(NOW.getTime());
const USAGE = { input: 10, output: 5, cacheRead: 0, cacheWrite: 0, reasoning: 0 };

async function newRun(tenant: string, limit: number): Promise<string> {
  const run = await database.run(tenant);
  await database.query('insert into steward.ledger_accounts (tenant, id, limit_micro_usd) values ($1, $2, $3)', [
    tenant,
    runAccount(run),
    limit,
  ]);
  return run;
}

/** Reserves as a turn does: only where both levels afford it. Null where they do not. */
function tryReserve(tenant: string, run: string, micro: number, at = NOW): Promise<string | null> {
  const id = randomUUID();
  return withTenant(pool.db, tenant, async (trx) => {
    const remainders = await lockRemainders(trx, tenant, run, at);
    if (Math.min(...remainders.all.map((one) => one.micro)) < micro) return null;
    const deadlineAt = new Date(Date.now() + 60_000);
    await reserve(trx, tenant, run, remainders, {
      id,
      turn: 1,
      purpose: 'turn',
      model: 'offline-1',
      reserve: micro,
      at,
      deadlineAt,
    });
    return id;
  });
}

async function settleAt(tenant: string, run: string, id: string, cost: number, usage: typeof USAGE | null = USAGE) {
  return withTenant(pool.db, tenant, async (trx) => {
    return settle(trx, tenant, await lockAttempt(trx, run, id), { cost, usage });
  });
}

async function account(tenant: string, id: string) {
  const rows = await database.query<{ lim: string; reserved: string; settled: string }>(
    'select limit_micro_usd as lim, reserved_micro_usd as reserved, settled_micro_usd as settled ' +
      'from steward.ledger_accounts where tenant = $1 and id = $2',
    [tenant, id],
  );
  const row = rows[0];
  return row && { limit: Number(row.lim), reserved: Number(row.reserved), settled: Number(row.settled) };
}

async function entries(tenant: string) {
  return database.query<{ account: string; kind: string; amount: string }>(
    'select account, kind, amount_micro_usd::text as amount from steward.ledger_entries where tenant = $1 order by id',
    [tenant],
  );
}

test('64 racing reservations on one run never pass its limit, and use it up', async () => {
  const tenant = await database.tenant();
  const run = await newRun(tenant, 1_000);
  const made = await Promise.all(Array.from({ length: 64 }, () => tryReserve(tenant, run, 70)));
  expect(made.filter((id) => id !== null)).toHaveLength(14);
  expect(await account(tenant, runAccount(run))).toEqual({ limit: 1_000, reserved: 980, settled: 0 });
  expect(await account(tenant, MONTH)).toMatchObject({ reserved: 980 });
});

test('64 racing reservations of as many runs never pass the month of their tenant', async () => {
  const tenant = await database.tenant({ month_budget_micro_usd: 1_000 });
  const runs = await Promise.all(Array.from({ length: 64 }, () => newRun(tenant, 500)));
  const made = await Promise.all(runs.map((run) => tryReserve(tenant, run, 70)));
  expect(made.filter((id) => id !== null)).toHaveLength(14);
  // Opened once, by whoever was first.
  expect(await account(tenant, MONTH)).toEqual({ limit: 1_000, reserved: 980, settled: 0 });
  const all = await Promise.all(runs.map((run) => account(tenant, runAccount(run))));
  expect(all.reduce((sum, one) => sum + (one?.reserved ?? 0), 0)).toBe(980);
});

test('a caller that does not look is refused by the database, and nothing is reserved on any level', async () => {
  const tenant = await database.tenant({ month_budget_micro_usd: 100 });
  const run = await newRun(tenant, 1_000);
  const blind = (micro: number) =>
    withTenant(pool.db, tenant, async (trx) => {
      const remainders = await lockRemainders(trx, tenant, run, NOW);
      const call = {
        id: randomUUID(),
        turn: 1,
        purpose: 'turn' as const,
        model: 'offline-1',
        reserve: micro,
        at: NOW,
        deadlineAt: NOW,
      };
      await reserve(trx, tenant, run, remainders, call);
    });
  expect((await stewardErrorOf(blind(101))).code).toBe('BUDGET_EXCEEDED');
  expect(await account(tenant, runAccount(run))).toEqual({ limit: 1_000, reserved: 0, settled: 0 });
  await blind(100);
  expect((await stewardErrorOf(blind(1))).code).toBe('BUDGET_EXCEEDED');
});

test('an attempt settles once, on both levels', async () => {
  const tenant = await database.tenant();
  const run = await newRun(tenant, 1_000);
  const id = (await tryReserve(tenant, run, 400)) as string;
  const settled = await Promise.all([300, 300, 299, 0].map((cost) => settleAt(tenant, run, id, cost)));
  expect(settled.filter((one) => one.first)).toHaveLength(1);
  const first = settled.find((one) => one.first)?.costMicroUsd as number;
  expect(settled.map((one) => one.costMicroUsd)).toEqual([first, first, first, first]);
  for (const level of [runAccount(run), MONTH]) {
    expect(await account(tenant, level)).toMatchObject({ reserved: 0, settled: first });
  }
  expect(await entries(tenant)).toEqual([]);
});

test('what was not used is given back, and what cost nothing is released', async () => {
  const tenant = await database.tenant();
  const run = await newRun(tenant, 1_000);
  const id = (await tryReserve(tenant, run, 1_000)) as string;
  expect(await tryReserve(tenant, run, 1)).toBeNull();
  expect(await settleAt(tenant, run, id, 0, null)).toMatchObject({ costMicroUsd: 0, overage: false, first: true });
  expect(await account(tenant, runAccount(run))).toEqual({ limit: 1_000, reserved: 0, settled: 0 });
  const [row] = await database.query('select state from steward.agent_run_costs where attempt_id = $1', [id]);
  expect(row).toEqual({ state: 'released' });
  expect(await tryReserve(tenant, run, 1_000)).not.toBeNull();
});

test('more than was reserved is entered as overage on both levels, and takes the account past its limit', async () => {
  const tenant = await database.tenant();
  const run = await newRun(tenant, 1_000);
  const id = (await tryReserve(tenant, run, 900)) as string;
  expect(await settleAt(tenant, run, id, 1_200)).toMatchObject({
    costMicroUsd: 1_200,
    overage: true,
    first: true,
    spent: { limit: 1_000, settled: 1_200, reserved: 0 },
  });
  expect(await settleAt(tenant, run, id, 1_200)).toMatchObject({
    overage: true,
    first: false,
    spent: { settled: 1_200 },
  });
  expect(await account(tenant, runAccount(run))).toEqual({ limit: 1_000, reserved: 0, settled: 1_200 });
  expect(await entries(tenant)).toEqual([
    { account: runAccount(run), kind: 'overage', amount: '300' },
    { account: 'user-month/2026-11/ann@acme', kind: 'overage', amount: '300' },
    { account: MONTH, kind: 'overage', amount: '300' },
  ]);
  expect(await tryReserve(tenant, run, 1)).toBeNull();
});

test('a dead attempt is charged once at its reservation, and corrects that if it comes back', async () => {
  const tenant = await database.tenant();
  const run = await newRun(tenant, 1_000);
  const id = (await tryReserve(tenant, run, 400)) as string;
  const charge = () =>
    withTenant(pool.db, tenant, (trx) => chargeDeadAttempt(trx, { tenant, run }, { id, turn: 1 }, NOW));
  expect(await Promise.all([charge(), charge(), charge()]).then((all) => all.toSorted((a, b) => b - a))).toEqual([
    400, 0, 0,
  ]);
  expect(await account(tenant, MONTH)).toMatchObject({ reserved: 0, settled: 400 });
  expect((await entries(tenant)).map((entry) => [entry.kind, entry.amount])).toEqual([
    ['charge', '400'],
    ['charge', '400'],
    ['charge', '400'],
  ]);
  const events = await database.query('select kind, data from steward.agent_run_events where run_id = $1', [run]);
  expect(events).toMatchObject([{ kind: 'turn.failed', data: { cost: 400, retrying: true } }]);
  // The zombie comes back and tells what it really cost.
  expect(await settleAt(tenant, run, id, 150)).toMatchObject({ costMicroUsd: 150, overage: false, first: true });
  expect(await account(tenant, MONTH)).toMatchObject({ reserved: 0, settled: 150 });
  expect(await account(tenant, runAccount(run))).toMatchObject({ reserved: 0, settled: 150 });
  expect(await settleAt(tenant, run, id, 400)).toMatchObject({ costMicroUsd: 150, first: false });
  expect(await charge()).toBe(0);
  expect(await account(tenant, MONTH)).toMatchObject({ settled: 150 });
});

test('an attempt that was settled is not charged as dead', async () => {
  const tenant = await database.tenant();
  const run = await newRun(tenant, 1_000);
  const id = (await tryReserve(tenant, run, 400)) as string;
  const [settled, charged] = await Promise.all([
    settleAt(tenant, run, id, 100),
    withTenant(pool.db, tenant, async (trx) => {
      await lockRemainders(trx, tenant, run, NOW);
      return (await chargeDead(trx, tenant, run, id)).cost;
    }),
  ]);
  // Whichever came first: it ends at what it really cost.
  expect([0, 400]).toContain(charged);
  expect(settled.costMicroUsd).toBe(100);
  expect(await account(tenant, runAccount(run))).toEqual({ limit: 1_000, reserved: 0, settled: 100 });
});

test('a new month is a new account with the budget of then; what was reserved before settles in its own month', async () => {
  const tenant = await database.tenant({ month_budget_micro_usd: 500 });
  const run = await newRun(tenant, 10_000);
  const last = new Date('2026-11-30T23:59:59.999Z');
  const next = new Date('2026-12-01T00:00:00Z');
  const id = (await tryReserve(tenant, run, 500, last)) as string;
  expect(await tryReserve(tenant, run, 1, last)).toBeNull();
  await database.query('update steward.tenants set month_budget_micro_usd = 700 where id = $1', [tenant]);
  expect(await tryReserve(tenant, run, 701, next)).toBeNull();
  expect(await tryReserve(tenant, run, 700, next)).not.toBeNull();
  await settleAt(tenant, run, id, 450);
  expect(await account(tenant, 'tenant-month/2026-11')).toEqual({ limit: 500, reserved: 0, settled: 450 });
  expect(await account(tenant, 'tenant-month/2026-12')).toEqual({ limit: 700, reserved: 700, settled: 0 });
  expect(await withTenant(pool.db, tenant, (trx) => runCost(trx, run))).toEqual({
    limit: 10_000,
    settled: 450,
    reserved: 700,
  });
});

test('a run without an account, and an attempt nobody reserved for, are errors and change nothing', async () => {
  const tenant = await database.tenant();
  const orphan = await database.run(tenant);
  expect((await stewardErrorOf(tryReserve(tenant, orphan, 1))).code).toBe('INTERNAL');
  const run = await newRun(tenant, 1_000);
  expect((await stewardErrorOf(settleAt(tenant, run, randomUUID(), 5))).code).toBe('INTERNAL');
  const id = (await tryReserve(tenant, run, 10)) as string;
  const other = await newRun(tenant, 1_000);
  const ofOther = withTenant(pool.db, tenant, (trx) => lockAttempt(trx, other, id));
  expect((await stewardErrorOf(ofOther)).code).toBe('INTERNAL');
});

test("another tenant's accounts and attempts are out of reach", async () => {
  const [mine, theirs] = [await database.tenant(), await database.tenant()];
  const run = await newRun(theirs, 1_000);
  const id = (await tryReserve(theirs, run, 10)) as string;
  expect((await stewardErrorOf(tryReserve(mine, run, 1))).code).toBe('NOT_FOUND');
  expect((await stewardErrorOf(settleAt(mine, run, id, 5))).code).toBe('INTERNAL');
  expect(await account(theirs, runAccount(run))).toMatchObject({ reserved: 10, settled: 0 });
  expect(await withTenant(pool.db, mine, (trx) => runCost(trx, run))).toEqual({ limit: 0, settled: 0, reserved: 0 });
});

test('a mixed load of all that takes these locks has no deadlock and adds up', async () => {
  const tenant = await database.tenant({ month_budget_micro_usd: 50_000 });
  const runs = await Promise.all(Array.from({ length: 4 }, () => newRun(tenant, 20_000)));
  let seed = 7;
  const random = (below: number): number => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed % below;
  };
  let raised = 0;
  const work = async (nth: number): Promise<void> => {
    const run = runs[random(runs.length)] as string;
    const id = await tryReserve(tenant, run, 100 + random(900));
    if (id === null) return;
    switch (nth % 4) {
      case 0:
        await settleAt(tenant, run, id, random(1_200));
        break;
      case 1:
        // As closing does: accounts, the run row, then the attempts that are left.
        await withTenant(pool.db, tenant, async (trx) => {
          await lockRemainders(trx, tenant, run, NOW);
          await lockRun(trx, { tenant, run });
          await chargeDead(trx, tenant, run, id);
        });
        break;
      case 2:
        await withTenant(pool.db, tenant, (trx) => chargeDeadAttempt(trx, { tenant, run }, { id, turn: 1 }, NOW));
        await settleAt(tenant, run, id, random(100));
        break;
      default:
        // As a raise does.
        raised += 10;
        await withTenant(runApi.db, tenant, async (trx) => {
          await lockRemainders(trx, tenant, run, NOW);
          await lockRun(trx, { tenant, run });
          await trx
            .updateTable('ledger_accounts')
            .set((eb) => ({ limit_micro_usd: eb('limit_micro_usd', '+', 10) }))
            .where('id', '=', runAccount(run))
            .execute();
        });
        await settleAt(tenant, run, id, 0, null);
    }
  };
  const failed = await Promise.all(
    Array.from({ length: 160 }, (_, nth) =>
      work(nth).then(
        () => null,
        (error: unknown) => error,
      ),
    ),
  );
  expect(failed.filter((error) => error !== null).map((error) => (isStewardError(error) ? error.code : error))).toEqual(
    [],
  );
  const [costs] = await database.query<{ settled: string; open: string }>(
    `select coalesce(sum(settled_micro_usd), 0)::text as settled, count(*) filter (where state = 'reserved')::text as open
     from steward.agent_run_costs where tenant = $1`,
    [tenant],
  );
  expect(costs?.open).toBe('0');
  const all = await Promise.all(runs.map((run) => account(tenant, runAccount(run))));
  expect(all.reduce((sum, one) => sum + (one?.settled ?? 0), 0)).toBe(Number(costs?.settled));
  expect(await account(tenant, MONTH)).toEqual({ limit: 50_000, reserved: 0, settled: Number(costs?.settled) });
  expect(all.reduce((sum, one) => sum + (one?.limit ?? 0), 0)).toBe(80_000 + raised);
}, 60_000);
