import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { sql } from 'kysely';
import { type TestDatabase, testDatabase } from '#test/support/postgres.ts';
import { type Connection, connect } from './connect.ts';
import { withTenant } from './tenant.ts';

let database: TestDatabase;
let pool: Connection<{ things: { id: number; name: string } }>;

beforeAll(async () => {
  database = await testDatabase();
  await database.query('create schema steward');
  await database.query('create table steward.things (id int primary key, name text not null)');
  pool = connect(database.url, { max: 1 });
}, 120_000);

afterAll(async () => {
  await pool.close();
  await database.drop();
});

const setting = async (name: string) =>
  (await sql<{ is: string | null }>`select current_setting(${name}, true) as is`.execute(pool.db)).rows[0]?.is;

test('what a transaction sets holds for it alone, whatever stands in it', async () => {
  const odd = "o'ne\\ $1 -- ; drop table things";
  const seen = await withTenant(
    pool.db,
    odd,
    async (trx, pid) => {
      const { rows } = await sql<{ tenant: string; wait: string; pid: number; within: boolean }>`
        select current_setting('app.tenant') as tenant, current_setting('lock_timeout') as wait, pg_backend_pid() as pid,
          now() < clock_timestamp() as within`.execute(trx);
      return { ...rows[0], said: pid };
    },
    { lock_timeout: '1234' },
  );
  expect(seen).toMatchObject({ tenant: odd, wait: '1234ms', pid: seen.said });
  expect([await setting('app.tenant'), await setting('lock_timeout')]).toEqual(['', '0']);
});

test('a transaction that fails leaves nothing, one without a statement is none, and the session goes on', async () => {
  const add = (id: number, fails: boolean) =>
    withTenant(pool.db, 'one', async (trx) => {
      await trx.insertInto('things').values({ id, name: 'a' }).execute();
      if (fails) throw new Error('no');
    });
  await expect(add(1, true)).rejects.toThrow('no');
  await add(2, false);
  await expect(add(2, false)).rejects.toMatchObject({ code: '23505' });
  await pool.db.transaction().execute(async () => {});
  await pool.db.transaction().execute((trx) => trx.insertInto('things').values({ id: 3, name: 'b' }).execute());
  const rows = await pool.db.selectFrom('things').select('id').orderBy('id').execute();
  expect(rows).toEqual([{ id: 2 }, { id: 3 }]);
});

test('statements that come again are prepared once for a session, and a migration beside them breaks none', async () => {
  const byId = (id: number) => pool.db.selectFrom('things').select(['id', 'name']).where('id', '=', id).execute();
  const whole = (id: number) => pool.db.selectFrom('things').selectAll().where('id', '=', id).execute();
  for (let again = 0; again < 3; again += 1) expect(await byId(2)).toEqual([{ id: 2, name: 'a' }]);
  for (let again = 0; again < 3; again += 1) await whole(2);
  const { rows } = await sql<{ statement: string }>`select statement from pg_prepared_statements`.execute(pool.db);
  expect(rows.filter((row) => row.statement.startsWith('select "id", "name"'))).toHaveLength(1);
  expect(rows.filter((row) => row.statement.includes('*'))).toHaveLength(0);
  await database.query("alter table steward.things add column more text not null default 'c'");
  expect(await byId(2)).toEqual([{ id: 2, name: 'a' }]);
  expect(await whole(2)).toEqual([{ id: 2, name: 'a', more: 'c' }]);
});
