import { expect, test } from '@jest/globals';
import pg from 'pg';
import { testDatabase } from './postgres.ts';

test('gives databases of their own, and logs in as a restricted role', async () => {
  const one = await testDatabase();
  const other = await testDatabase();
  try {
    await one.query('create table seen (a int)');
    await expect(other.query('select * from seen')).rejects.toThrow('does not exist');
    await one.query('do $$ begin create role steward_test_reader; exception when duplicate_object then null; end $$');
    const client = new pg.Client({ connectionString: await one.urlAs('steward_test_reader') });
    await client.connect();
    await expect(client.query('select * from seen')).rejects.toThrow('permission denied');
    await client.end();
  } finally {
    await one.drop();
    await other.drop();
  }
  await expect(new pg.Client({ connectionString: one.url }).connect()).rejects.toThrow('does not exist');
});
