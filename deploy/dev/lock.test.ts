import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { makeTestHome, type TestHome } from './fixtures/home.ts';
import { runParent } from './fixtures/run-parent.ts';
import { acquireLock, lockHome } from './lock.ts';

let home: TestHome;
beforeAll(async () => {
  home = await makeTestHome();
});
afterAll(() => home.remove());

test('a second taker waits for the first', async () => {
  const file = join(home.paths.run, 'order.lock');
  const first = await acquireLock(file, { waitMs: 0 });
  const holders: string[] = [];
  const onWait = (holder: string) => {
    holders.push(holder);
    first.release();
  };
  const second = acquireLock(file, { waitMs: 10_000, onWait });
  (await second).release();
  expect(holders).toEqual([`process ${process.pid}`]);
});

test('a lock names its holder, and is free once the holder was killed', async () => {
  const file = join(home.paths.run, 'test.lock');
  const holder = await runParent('lock', home.env);
  await expect(acquireLock(file, { waitMs: 0 })).rejects.toThrow(new RegExp(`held by process ${holder.pid}`));
  await holder.kill();
  (await acquireLock(file, { waitMs: 0 })).release();
});

test('a data directory serves one launcher at a time', async () => {
  const first = await lockHome(home.paths.home);
  await expect(lockHome(home.paths.home)).rejects.toThrow(/runs already.*STEWARD_HOME/);
  first.release();
  (await lockHome(home.paths.home)).release();
});
