import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { prepareDatabase } from '#deploy/dev/schema.ts';
import { ROLES } from '#deploy/dev/secrets.ts';
import { type TestDatabase, testDatabase } from '#test/support/postgres.ts';
import { lint } from './lint.ts';

let database: TestDatabase;
let client: pg.Client;
const query = async (text: string, values: readonly unknown[] = []) =>
  (await client.query(text, [...values])).rows as never;

beforeAll(async () => {
  database = await testDatabase();
  // The cluster's other tests give its roles this password, too.
  await prepareDatabase(database.url, {
    passwords: Object.fromEntries(Object.values(ROLES).map((role) => [role, 'test'])),
  });
  client = new pg.Client({ connectionString: database.url });
  await client.connect();
});
afterAll(async () => {
  await client?.end();
  await database?.drop();
});

test('every table of a tenant has forced row-level security, and nothing goes around it', async () => {
  expect(await lint(query)).toEqual([]);
});

test.each([
  ['a table without row-level security', 'create table steward.loose (tenant text, id text)', 'steward.loose', 'table'],
  [
    'row-level security that its owner escapes',
    `create table steward.unforced (tenant text); alter table steward.unforced enable row level security;
     create policy own on steward.unforced using (tenant = steward.current_tenant())`,
    'steward.unforced',
    'table',
  ],
  [
    'a policy that lets everything pass',
    'create policy all_of_it on projects.tasks for select using (true)',
    'projects.tasks',
    'table',
  ],
  ['a table of nobody', 'create table orders.shared (id text)', 'orders.shared', 'table'],
  [
    'a view that reads as its owner',
    'create view steward.all_runs as select * from steward.agent_runs',
    'steward.all_runs',
    'view',
  ],
  [
    'a function that runs as its owner',
    `create function steward.peek() returns bigint language sql security definer
     as 'select count(*) from steward.agent_runs'`,
    'steward.peek',
    'function',
  ],
  [
    'a value that is unique across tenants',
    'create unique index on orders.customers (email)',
    'orders.customers',
    'unique',
  ],
])('finds %s', async (_what, statement, name, what) => {
  await client.query('begin');
  try {
    await client.query(statement);
    expect(await lint(query)).toContainEqual(expect.objectContaining({ what, name }));
  } finally {
    await client.query('rollback');
  }
});
