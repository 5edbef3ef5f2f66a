import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { connect } from '#platform/database/connect.ts';
import { notifier } from '#platform/database/notify.ts';
import { type TestDatabase, testDatabase } from '#test/support/postgres.ts';
import { listenForStops } from './stop-push.ts';

let database: TestDatabase;

beforeAll(async () => {
  database = await testDatabase();
}, 120_000);

afterAll(() => database.drop());

test('a stop reaches every activity of its run and of no other, until they are over', async () => {
  const push = listenForStops(database.url);
  await push.ready;
  const pool = connect(database.url, { schema: 'public' });
  const tell = notifier(pool.db);
  const told: string[] = [];
  const heard = [Promise.withResolvers<void>(), Promise.withResolvers<void>(), Promise.withResolvers<void>()] as const;
  push.onStop('r1', () => {
    told.push('r1 a');
    heard[told.includes('r1 b') ? 1 : 0].resolve();
  });
  const forget = push.onStop('r1', () => told.push('r1 b'));
  push.onStop('r2', () => {
    told.push('r2');
    heard[2].resolve();
  });
  tell.cancel('r1');
  await heard[0].promise;
  expect(told).toEqual(['r1 a', 'r1 b']);
  forget();
  tell.cancel('r3');
  tell.cancel('r1');
  tell.cancel('r2');
  await Promise.all([heard[1].promise, heard[2].promise]);
  expect(told.toSorted()).toEqual(['r1 a', 'r1 a', 'r1 b', 'r2']);
  await tell.close();
  await pool.close();
  await push.close();
});

test('a listener whose connection was lost hears again', async () => {
  const push = listenForStops(database.url);
  await push.ready;
  const heard = Promise.withResolvers<void>();
  push.onStop('r1', () => heard.resolve());
  await database.query(
    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'steward-worker-stops' and datname = current_database()",
  );
  let over = false;
  void heard.promise.then(() => {
    over = true;
  });
  for (const until = Date.now() + 20_000; !over && Date.now() < until; ) {
    await database.query("select pg_notify('steward_cancel', 'r1')");
  }
  expect(over).toBe(true);
  await push.close();
});
