import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type TestDatabase, testDatabase } from '#test/support/postgres.ts';
import { connect } from './connect.ts';
import { type ListenOptions, listen } from './listen.ts';
import { CANCEL_CHANNEL, notifier, RUNS_CHANNEL } from './notify.ts';

let database: TestDatabase;

beforeAll(async () => {
  database = await testDatabase();
}, 120_000);

afterAll(() => database.drop(), 30_000);

/** A listener with a queue of what it heard. */
function ears(options: Partial<ListenOptions> = {}) {
  const heard: string[] = [];
  let waiting: { readonly count: number; readonly done: () => void } | undefined;
  const listener = listen({
    url: database.url,
    channels: [RUNS_CHANNEL, CANCEL_CHANNEL],
    onNotify: (channel, payload) => {
      heard.push(`${channel}:${payload}`);
      if (waiting !== undefined && heard.length >= waiting.count) waiting.done();
    },
    ...options,
  });
  const until = (count: number) =>
    new Promise<void>((done) => {
      waiting = { count, done };
      if (heard.length >= count) done();
    });
  return { ...listener, heard, until };
}

test('what changed within a moment is said once, together; a cancel at once', async () => {
  const pool = connect<object>(database.url);
  const listener = ears();
  await listener.ready;
  const notify = notifier(pool.db, { debounceMs: 50 });
  notify.wake('run-a');
  notify.wake('run-b');
  notify.cancel('run-c');
  notify.wake('run-a');
  await listener.until(2);
  expect(listener.heard).toEqual(['steward_cancel:run-c', 'steward_runs:run-a,run-b']);
  // More than one payload holds.
  for (let i = 0; i < 250; i += 1) notify.wake(`run-${String(i).padStart(60, '0')}`);
  await notify.close();
  await listener.until(5);
  const ids = listener.heard.slice(2).flatMap((line) => line.split(':')[1]?.split(',') ?? []);
  expect(new Set(ids).size).toBe(250);
  notify.wake('late');
  await notify.close();
  await listener.close();
  await pool.close();
  expect(listener.heard).toHaveLength(5);
});

test('a hint that cannot be sent fails nobody', async () => {
  const pool = connect<object>('postgres://nobody@127.0.0.1:1/none', { connectMs: 500 });
  const errors: unknown[] = [];
  const notify = notifier(pool.db, { debounceMs: 1, onError: (error) => errors.push(error) });
  notify.wake('run-a');
  await notify.close();
  expect(errors).toHaveLength(1);
  await pool.close();
});

test('a lost connection is made again, and says so', async () => {
  const connected: (() => void)[] = [];
  const next = () => new Promise<void>((done) => connected.push(done));
  const lost: unknown[] = [];
  const first = next();
  const listener = ears({
    name: 'steward-test-lost',
    onConnect: () => connected.shift()?.(),
    onLost: (error) => lost.push(error),
  });
  await first;
  for (let round = 1; round <= 2; round += 1) {
    const again = next();
    const ended = await database.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'steward-test-lost'",
    );
    expect(ended).toHaveLength(1);
    await again;
    expect(lost.length).toBeGreaterThanOrEqual(round);
    await database.query("select pg_notify('steward_runs', $1)", [`round-${round}`]);
    await listener.until(round);
  }
  expect(listener.heard).toEqual(['steward_runs:round-1', 'steward_runs:round-2']);
  await listener.close();
});

test('waits for a server that is not there yet, and can be closed meanwhile', async () => {
  const lost = Promise.withResolvers<void>();
  const listener = ears({ url: 'postgres://nobody@127.0.0.1:1/none', onLost: () => lost.resolve() });
  await lost.promise;
  await listener.close();
  await listener.ready;
  expect(() => listen({ url: database.url, channels: ['bad"; drop'], onNotify: () => {} })).toThrow(RangeError);
});
