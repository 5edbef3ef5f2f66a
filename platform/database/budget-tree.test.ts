import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { productPart, runAccount, userMonthAccount } from '#domain/ids.ts';
import { type StewardDatabase, stewardDatabase } from '#test/support/steward-database.ts';
import { lockRemainders } from './accounts.ts';
import { type Connection, connect } from './connect.ts';
import { lockAttempt, ProductMoved, reserve, settle } from './ledger.ts';
import { allot, gatherPart } from './product.ts';
import type { Database } from './tables.ts';
import { withTenant } from './tenant.ts';

let database: StewardDatabase;
let pool: Connection<Database>;

beforeAll(async () => {
  database = await stewardDatabase();
  pool = connect<Database>(await database.urlAs('steward_worker'), { max: 16, connectMs: 20_000 });
}, 120_000);

afterAll(async () => {
  await pool.close();
  await database.drop();
});

const at = (month: string): Date => new Date(`${month}-11T12:00:00Z`);

async function newRun(tenant: string, user: string): Promise<string> {
  const run = await database.run(tenant, { acting_user: user });
  const account = 'insert into steward.ledger_accounts (tenant, id, limit_micro_usd) values ($1, $2, 1000000)';
  await database.query(account, [tenant, runAccount(run)]);
  return run;
}

/** Reserves as a turn does, on all four levels; null where one of them does not afford it. */
async function tryReserve(tenant: string, run: string, micro: number, now: Date): Promise<string | null> {
  const id = randomUUID();
  for (let tries = 0; tries < 50; tries += 1) {
    try {
      return await withTenant(pool.db, tenant, async (trx) => {
        const remainders = await lockRemainders(trx, tenant, run, now);
        const { product } = remainders;
        if ([remainders.run, remainders.user, remainders.month].some((one) => one.micro < micro)) return null;
        if (product.micro < micro && (await gatherPart(trx, product.account, run, micro)) < micro) return null;
        const deadlineAt = new Date(Date.now() + 60_000);
        const call = { turn: 1, purpose: 'turn', model: 'offline-1', reserve: micro, at: now, deadlineAt } as const;
        await reserve(trx, tenant, run, remainders, { id, ...call });
        return id;
      });
    } catch (error) {
      if (!(error instanceof ProductMoved)) throw error;
    }
  }
  throw new Error('the product kept moving');
}

test('64 racing reservations of as many runs never pass the month of their user; others of the tenant have theirs', async () => {
  const tenant = await database.tenant({ user_month_micro_usd: 1_000 });
  const now = at('2027-01');
  const runs = await Promise.all(Array.from({ length: 64 }, () => newRun(tenant, 'ann@acme')));
  const made = await Promise.all(runs.map((run) => tryReserve(tenant, run, 70, now)));
  expect(made.filter((id) => id !== null)).toHaveLength(14);
  const id = userMonthAccount(now.getTime(), 'ann@acme');
  const query =
    'select limit_micro_usd::int as lim, reserved_micro_usd::int as held from steward.ledger_accounts where id = $1';
  expect(await database.query(query, [id])).toEqual([{ lim: 1_000, held: 980 }]);
  const other = await newRun(tenant, 'bob@acme');
  expect(await tryReserve(tenant, other, 70, now)).not.toBeNull();
  await database.query(
    "insert into steward.user_limits (tenant, subject, month_limit_micro_usd, set_by) values ($1, 'cy@acme', 69, 'x')",
    [tenant],
  );
  expect(await tryReserve(tenant, await newRun(tenant, 'cy@acme'), 70, now)).toBeNull();
});

test('racing reservations of many tenants use the product up to its limit, whatever part they are in, and never pass it', async () => {
  const tenants = await Promise.all(Array.from({ length: 4 }, () => database.tenant()));
  const now = at('2027-02');
  await database.query('update steward.product_settings set month_limit_micro_usd = 1000');
  const runs = await Promise.all(
    Array.from({ length: 64 }, async (_, nth) => {
      const tenant = tenants[nth % 4] as string;
      return { tenant, run: await newRun(tenant, `user-${nth % 8}@acme`) };
    }),
  );
  const made = await Promise.all(runs.map(({ tenant, run }) => tryReserve(tenant, run, 70, now)));
  await database.query('update steward.product_settings set month_limit_micro_usd = null');
  expect(made.filter((id) => id !== null)).toHaveLength(14);
  const query = `select sum(allotted_micro_usd)::int as allotted, sum(reserved_micro_usd)::int as held,
    bool_and(reserved_micro_usd <= allotted_micro_usd) as within from steward.product_accounts where month = '2027-02'`;
  expect(await database.query(query)).toEqual([{ allotted: 1_000, held: 980, within: true }]);

  // What one call did not need, any other may have, in whichever part it is.
  const at0 = made.findIndex((id) => id !== null);
  const { tenant, run } = runs[at0] as { tenant: string; run: string };
  await withTenant(pool.db, tenant, async (trx) =>
    settle(trx, tenant, await lockAttempt(trx, run, made[at0] as string), { cost: 0, usage: null }),
  );
  const elsewhere = runs.find((one) => productPart(one.run) !== productPart(run)) as { tenant: string; run: string };
  expect(await tryReserve(elsewhere.tenant, elsewhere.run, 90, now)).not.toBeNull();
  expect(await tryReserve(elsewhere.tenant, elsewhere.run, 1, now)).toBeNull();
});

test('a month that is lowered below what is used lets nothing begin, until enough of it has been given back', async () => {
  const tenant = await database.tenant();
  const now = at('2027-04');
  await database.query('update steward.product_settings set month_limit_micro_usd = 1000');
  const runs = await Promise.all(Array.from({ length: 10 }, (_, nth) => newRun(tenant, `user-${nth}@acme`)));
  const made = await Promise.all(runs.map((run) => tryReserve(tenant, run, 90, now)));
  expect(made).not.toContain(null);
  await database.query('update steward.product_settings set month_limit_micro_usd = null');
  await database.query("update steward.product_months set limit_micro_usd = 400 where month = '2027-04'");
  await withTenant(pool.db, tenant, (trx) => allot(trx, '2027-04', 400));
  const give = (nth: number) =>
    withTenant(pool.db, tenant, async (trx) =>
      settle(trx, tenant, await lockAttempt(trx, runs[nth] as string, made[nth] as string), { cost: 0, usage: null }),
    );
  for (let nth = 0; nth < 5; nth += 1) await give(nth);
  const next = await newRun(tenant, 'zoe@acme');
  expect(await tryReserve(tenant, next, 10, now)).toBeNull();
  await give(5);
  expect(await tryReserve(tenant, next, 41, now)).toBeNull();
  expect(await tryReserve(tenant, next, 40, now)).not.toBeNull();
});

test('a worker may move what is allotted between parts, and allot no more than the month has', async () => {
  const tenant = await database.tenant();
  const run = await newRun(tenant, 'ann@acme');
  const now = at('2027-03');
  await database.query('update steward.product_settings set month_limit_micro_usd = 800');
  await tryReserve(tenant, run, 10, now);
  await database.query('update steward.product_settings set month_limit_micro_usd = null');
  const grab = withTenant(pool.db, tenant, (trx) =>
    trx.updateTable('product_accounts').set({ allotted_micro_usd: 101 }).where('month', '=', '2027-03').execute(),
  );
  await expect(grab).rejects.toMatchObject({ code: '42501' });
  for (const work of [
    pool.db.updateTable('product_months').set({ limit_micro_usd: 1 }),
    pool.db.updateTable('product_settings').set({ platform_tenant: tenant }),
  ]) {
    await expect(work.execute()).rejects.toMatchObject({ code: '42501' });
  }
});
