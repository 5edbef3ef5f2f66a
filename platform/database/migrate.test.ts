import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { type TestDatabase, testDatabase } from '#test/support/postgres.ts';
import { migrate } from './migrate.ts';

const MIGRATIONS = join(import.meta.dirname, 'migrations');

let database: TestDatabase;
let directory: string;

beforeAll(async () => {
  database = await testDatabase();
}, 180_000);

afterAll(() => database.drop());

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'steward-migrations-'));
});

afterEach(() => rm(directory, { recursive: true }));

const write = (name: string, text: string) => writeFile(join(directory, name), text);

test('twenty starters at once apply every migration exactly once', async () => {
  const done = await Promise.all(
    Array.from({ length: 20 }, () => migrate({ url: database.url, directory: MIGRATIONS, schema: 'steward' })),
  );
  const applied = done.flat();
  const recorded = await database.query<{ name: string }>('select name from steward.migrations order by number');
  expect(applied.toSorted()).toEqual(recorded.map((row) => row.name));
  expect(new Set(applied).size).toBe(applied.length);
}, 120_000);

test('every table with a tenant has row-level security, enabled and forced', async () => {
  const open = await database.query(
    `select c.relname from pg_class c
     join pg_namespace n on n.oid = c.relnamespace and n.nspname = 'steward'
     where c.relkind = 'r' and (c.relname = 'tenants' or exists (
       select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant' and not a.attisdropped))
     and not (c.relrowsecurity and c.relforcerowsecurity)`,
  );
  expect(open).toEqual([]);
});

test('an applied file that has changed is refused, and nothing is applied', async () => {
  const options = { url: database.url, directory, schema: 'changed' };
  await write('000001_one.sql', 'create table one (a int);');
  await migrate(options);
  await write('000001_one.sql', 'create table one (a int, b int);');
  await write('000002_two.sql', 'create table two (a int);');
  await expect(migrate(options)).rejects.toMatchObject({ code: 'WRONG_STATE' });
  expect(await database.query("select to_regclass('changed.two') as two")).toEqual([{ two: null }]);
});

test('a migration that fails leaves nothing of itself, and the ones before it stand', async () => {
  const options = { url: database.url, directory, schema: 'broken' };
  await write('000001_one.sql', 'create table one (a int);');
  await write('000002_two.sql', 'create table two (a int); select no_such_function();');
  await expect(migrate(options)).rejects.toMatchObject({ code: 'INTERNAL' });
  expect(await database.query("select to_regclass('broken.one') as one, to_regclass('broken.two') as two")).toEqual([
    { one: 'broken.one', two: null },
  ]);
});

test('a gap in the numbers is refused', async () => {
  await write('000002_two.sql', 'select 1;');
  await expect(migrate({ url: database.url, directory, schema: 'gap' })).rejects.toThrow('000001');
});
