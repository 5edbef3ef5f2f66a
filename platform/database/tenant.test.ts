import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { sql } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type StewardDatabase, stewardDatabase } from '#test/support/steward-database.ts';
import { type Connection, connect } from './connect.ts';
import { audit, record } from './journal.ts';
import { cutText, storableJson, storableText } from './storable.ts';
import type { Database } from './tables.ts';
import { fromDatabase, listTenants, withTenant } from './tenant.ts';

let database: StewardDatabase;
let pool: Connection<Database>;

beforeAll(async () => {
  database = await stewardDatabase();
  pool = connect<Database>(await database.urlAs('steward_worker'), { max: 2 });
}, 120_000);

afterAll(async () => {
  await pool.close();
  await database.drop();
});

test('a transaction sees its own tenant, and its connection carries nothing over', async () => {
  const [mine, theirs] = [await database.tenant(), await database.tenant()];
  const [own, foreign] = [await database.run(mine), await database.run(theirs)];
  const seen = () => withTenant(pool.db, mine, (trx) => trx.selectFrom('agent_runs').select('id').execute());
  for (let again = 0; again < 3; again += 1) expect(await seen()).toEqual([{ id: own }]);
  // On the same pooled connections, without a tenant.
  for (let again = 0; again < 3; again += 1) {
    expect(await pool.db.selectFrom('agent_runs').select('id').execute()).toEqual([]);
  }
  const touched = await withTenant(pool.db, mine, (trx) =>
    trx.updateTable('agent_runs').set({ outcome: 'x' }).where('id', '=', foreign).executeTakeFirstOrThrow(),
  );
  expect(touched.numUpdatedRows).toBe(0n);
  expect(await listTenants(pool.db)).toEqual(expect.arrayContaining([mine, theirs]));
  expect((await stewardErrorOf(withTenant(pool.db, '', async () => 1))).code).toBe('INTERNAL');
});

test('what fails inside is rolled back and passed on as it is', async () => {
  const tenant = await database.tenant();
  const run = await database.run(tenant);
  const work = (failure: Error) =>
    withTenant(pool.db, tenant, async (trx) => {
      await record(trx, tenant, run, { events: [{ kind: 'run.started', data: { model: 'm' } }] });
      throw failure;
    });
  expect((await stewardErrorOf(work(new StewardError('KILLED', 'stop')))).code).toBe('KILLED');
  await expect(work(new TypeError('a fault'))).rejects.toBeInstanceOf(TypeError);
  expect(await database.query('select 1 from steward.agent_run_events where run_id = $1', [run])).toEqual([]);
});

test('a connection that is lost is UNAVAILABLE, and the next transaction has a new one', async () => {
  const tenant = await database.tenant();
  const broken = withTenant(pool.db, tenant, async (trx) => {
    const { rows } = await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(trx);
    await database.query('select pg_terminate_backend($1)', [rows[0]?.pid]);
    await sql`select 1`.execute(trx);
  });
  expect((await stewardErrorOf(broken)).code).toBe('UNAVAILABLE');
  expect(await withTenant(pool.db, tenant, async () => 'fine')).toBe('fine');
});

test.each([
  ['40P01', true],
  ['40001', true],
  ['57P01', true],
  ['53300', true],
  ['08006', true],
  ['ECONNREFUSED', true],
  ['ENOTFOUND', true],
  ['23505', false],
  ['42501', false],
  ['28P01', false],
])('an error of code %s can be tried again: %s', (code, again) => {
  const error = Object.assign(new Error('x'), { code });
  const mapped = fromDatabase(error);
  if (again) expect(mapped).toMatchObject({ code: 'UNAVAILABLE' });
  else expect(mapped).toBe(error);
});

test('events and steps of one run are numbered without gaps, however many are written at once', async () => {
  const tenant = await database.tenant();
  const run = await database.run(tenant);
  await Promise.all(
    Array.from({ length: 30 }, (_, nth) =>
      withTenant(pool.db, tenant, (trx) =>
        record(trx, tenant, run, {
          events: Array.from({ length: nth % 3 }, () => ({ kind: 'run.started', data: { model: 'm' } }) as const),
          steps: nth % 2 ? [{ kind: 'note', turn: 0, content: {} }] : [],
        }),
      ),
    ),
  );
  const numbers = async (column: string, table: string) =>
    (await database.query(`select ${column} as n from steward.${table} where run_id = $1 order by 1`, [run])).map(
      (row) => Number(row.n),
    );
  const upTo = (n: number) => Array.from({ length: n }, (_, index) => index + 1);
  expect(await numbers('sequence', 'agent_run_events')).toEqual(upTo(30));
  expect(await numbers('number', 'agent_run_steps')).toEqual(upTo(15));
});

test('text and JSON of any kind can be stored', async () => {
  const tenant = await database.tenant();
  const nasty = 'a\u0000b\ud83dc \\u0000 \\\\ud800 🙂 "\n';
  expect(storableText(nasty)).toBe('a\ufffdb\ufffdc \\u0000 \\\\ud800 🙂 "\n');
  expect(JSON.parse(storableJson({ [nasty]: [nasty] }))).toEqual({ [storableText(nasty)]: [storableText(nasty)] });
  await withTenant(pool.db, tenant, (trx) =>
    audit(trx, tenant, { actor: 'a', action: 'b', data: { [nasty]: { deep: [nasty, 1, null] } } }),
  );
  const [row] = await database.query('select data from steward.audit_log where tenant = $1', [tenant]);
  expect(row).toEqual({ data: { [storableText(nasty)]: { deep: [storableText(nasty), 1, null] } } });
});

test.each([
  ['abc', 3, 'abc'],
  ['abcd', 3, 'abc'],
  ['ab🙂', 3, 'ab'],
  ['ab🙂', 4, 'ab🙂'],
  ['🙂🙂', 1, ''],
])('%s cut to %i is %s', (text, length, cut) => {
  expect(cutText(text, length)).toBe(cut);
});
