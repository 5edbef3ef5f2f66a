import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type TestDatabase, testDatabase } from '#test/support/postgres.ts';
import { migrate } from './migrate.ts';

const MIGRATIONS = join(import.meta.dirname, 'migrations');

let database: TestDatabase;
let folder: string;

beforeAll(async () => {
  database = await testDatabase();
  folder = await mkdtemp(join(tmpdir(), 'steward-migrations-'));
}, 120_000);

afterAll(async () => {
  await rm(folder, { recursive: true });
  await database.drop();
});

let made = 0;

/** A folder of migrations and a schema of its own. */
async function migrations(files: Readonly<Record<string, string>>) {
  made += 1;
  const directory = join(folder, String(made));
  await mkdir(directory);
  const write = async (more: Readonly<Record<string, string>>): Promise<void> => {
    for (const [name, text] of Object.entries(more)) await writeFile(join(directory, name), text);
  };
  await write(files);
  return { url: database.url, directory, schema: `s${made}`, write };
}

const FIRST = { '000001_one.sql': 'create table a (n int);', '000002_two.sql': 'insert into a values (1);' };

test('twenty starters at once apply every migration of ours exactly once', async () => {
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

test('what is applied is applied once, in order, and what is new after it', async () => {
  const options = await migrations(FIRST);
  const applied = await Promise.all(Array.from({ length: 20 }, () => migrate(options)));
  expect(applied.flat()).toEqual(['000001_one.sql', '000002_two.sql']);
  expect(await database.query(`select n from ${options.schema}.a`)).toEqual([{ n: 1 }]);
  await options.write({ '000003_three.sql': 'insert into a values (3);' });
  expect(await migrate(options)).toEqual(['000003_three.sql']);
  expect(await migrate(options)).toEqual([]);
});

test('a file that was changed after it was applied stops everything, and so does a database that is ahead', async () => {
  const options = await migrations(FIRST);
  await migrate(options);
  await options.write({ '000002_two.sql': 'insert into a values (2);', '000003_three.sql': 'drop table a;' });
  const error = await stewardErrorOf(migrate(options));
  expect(error.code).toBe('WRONG_STATE');
  expect(error.message).toContain('000002_two.sql');
  await rm(join(options.directory, '000003_three.sql'));
  await rm(join(options.directory, '000002_two.sql'));
  expect((await stewardErrorOf(migrate(options))).code).toBe('WRONG_STATE');
  expect(await database.query(`select n from ${options.schema}.a`)).toEqual([{ n: 1 }]);
});

test('a migration that fails leaves nothing of itself, keeps those before it, and is applied once it is mended', async () => {
  const options = await migrations({ ...FIRST, '000003_three.sql': 'create table b (n int); select nonsense;' });
  const error = await stewardErrorOf(migrate(options));
  expect(error.message).toContain('000003_three.sql');
  expect(await database.query(`select to_regclass('${options.schema}.b') as b`)).toEqual([{ b: null }]);
  await options.write({ '000003_three.sql': 'create table b (n int);' });
  expect(await migrate(options)).toEqual(['000003_three.sql']);
});

test.each([
  ['a gap', { '000001_one.sql': '', '000003_three.sql': '' }],
  ['two of one number', { '000001_one.sql': '', '000001_two.sql': '' }],
  ['a name that is none', { '000001_one.sql': '', '000002-two.sql': '' }],
])('%s in the folder is told before anything is applied', async (_, files) => {
  const options = await migrations(files);
  expect((await stewardErrorOf(migrate(options))).code).toBe('INTERNAL');
  expect(await database.query(`select to_regnamespace('${options.schema}') as schema`)).toEqual([{ schema: null }]);
});

test('who waits too long for another starter is told so', async () => {
  const options = await migrations(FIRST);
  const other = new pg.Client({ connectionString: database.url });
  await other.connect();
  await other.query("select pg_advisory_lock(hashtext('steward.migrate'))");
  expect((await stewardErrorOf(migrate({ ...options, waitMs: 200 }))).code).toBe('UNAVAILABLE');
  await other.end();
  expect(await migrate(options)).toHaveLength(2);
});

test('a schema name that is none never becomes SQL', async () => {
  const options = await migrations(FIRST);
  const error = await stewardErrorOf(migrate({ ...options, schema: 'x; drop schema public' }));
  expect(error.code).toBe('INVALID_REQUEST');
});
