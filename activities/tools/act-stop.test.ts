import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { CancelledFailure } from '@temporalio/activity';
import { fault, inFlight, play, RECEIPT, world } from '#test/support/act-world.ts';
import { workerBench } from '#test/support/worker-bench.ts';

let bench: Awaited<ReturnType<typeof workerBench>>;

beforeAll(async () => {
  bench = await workerBench();
}, 120_000);

afterAll(async () => {
  await bench.stop();
});

test('a call cancelled in flight is settled before it ends as cancelled', async () => {
  const call = await inFlight(bench, { settle: () => ({ kind: 'tombstone' }) });
  call.environment.cancel('CANCELLED');
  expect(await call.end).toBeInstanceOf(CancelledFailure);
  expect(call.asked).toEqual(['authorize', 'execute', 'settle']);
  expect(await call.call()).toMatchObject({ state: 'cancelled' });
});

test('a call cancelled in flight that did take place is told as done', async () => {
  const call = await inFlight(bench, { settle: () => RECEIPT });
  call.environment.cancel('CANCELLED');
  expect(await call.end).toEqual({ outcome: 'done' });
  expect(await call.call()).toMatchObject({ state: 'done' });
});

test('a call cancelled in flight whose outcome cannot be learned is shown as unknown', async () => {
  const call = await inFlight(bench, { settle: () => fault('CATALOG_UNAVAILABLE') });
  call.environment.cancel('CANCELLED');
  expect(await call.end).toMatchObject({ type: 'OUTCOME_UNKNOWN' });
  expect(await call.call()).toMatchObject({ state: 'outcome_unknown' });
});

test('the push stops a call ahead of Temporal, and waits for its word', async () => {
  const call = await inFlight(bench, { settle: () => ({ kind: 'tombstone' }) });
  for (const stop of call.pushes) stop('run');
  let ended = false;
  void call.end.then(() => {
    ended = true;
  });
  for (const until = Date.now() + 5_000; (await call.call()).state !== 'cancelled'; ) {
    expect(Date.now()).toBeLessThan(until);
  }
  expect(ended).toBe(false);
  call.environment.cancel('CANCELLED');
  expect(await call.end).toBeInstanceOf(CancelledFailure);
  expect(call.pushes.size).toBe(0);
});

test.each(['WORKER_SHUTDOWN', 'NOT_FOUND', 'TIMED_OUT'] as const)(
  'an attempt that ends by %s settles nothing: the next one goes on',
  async (reason) => {
    const call = await inFlight(bench, {});
    call.environment.cancel(reason);
    expect(await call.end).toBeInstanceOf(CancelledFailure);
    expect(call.asked).toEqual(['authorize', 'execute']);
    expect(await call.call()).toMatchObject({ state: 'started' });
    expect(await play(bench, { look: () => RECEIPT, attempt: 2 }, call.run)).toMatchObject({
      end: 'done',
      state: 'done',
    });
  },
);

test('a run that is being cancelled lets no call begin, and the call ends as cancelled', async () => {
  const made = await world(bench, { authorize: () => fault('CANCELLED') });
  const end = made.act().catch((error: unknown) => error);
  for (const until = Date.now() + 5_000; (await made.call()).state !== 'cancelled'; ) {
    expect(Date.now()).toBeLessThan(until);
  }
  made.environment.cancel('CANCELLED');
  expect(await end).toBeInstanceOf(CancelledFailure);
  expect(made.asked).toEqual(['authorize']);
});

test('a call heartbeats for as long as it lasts, and one that is done at once does not', async () => {
  const made = await world(bench, { execute: () => RECEIPT });
  let early = 0;
  made.environment.on('heartbeat', () => {
    early += 1;
  });
  await made.act();
  expect(early).toBe(0);
  const call = await inFlight(bench, { settle: () => ({ kind: 'tombstone' }) });
  const two = Promise.withResolvers<void>();
  let count = 0;
  call.environment.on('heartbeat', () => {
    count += 1;
    if (count === 2) two.resolve();
  });
  await two.promise;
  call.environment.cancel();
  await call.end;
});
