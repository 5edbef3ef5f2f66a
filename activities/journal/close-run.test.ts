import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { StewardError } from '#domain/errors.ts';
import type { CloseRunInput } from '#domain/ports/run-activities.ts';
import type { CatalogPort, Resolution } from '#domain/ports/services.ts';
import { RECEIPT } from '#test/support/act-world.ts';
import { activityEnvironment, endOf } from '#test/support/activities.ts';
import { type SeededRun, workerBench } from '#test/support/worker-bench.ts';
import { createCloseRun } from './close-run.ts';

let bench: Awaited<ReturnType<typeof workerBench>>;

beforeAll(async () => {
  bench = await workerBench();
}, 120_000);

afterAll(async () => {
  await bench.stop();
});

/** Closes a run whose catalog answers so, by call; what it does not answer for cannot be asked. */
async function close(
  run: SeededRun,
  answers: Readonly<Record<string, Resolution>>,
  more: Partial<CloseRunInput> = {},
  deliver: () => Promise<void> = async () => undefined,
) {
  const asked: string[] = [];
  const delivered: (readonly number[])[] = [];
  const catalogs: Pick<CatalogPort, 'resolve'> = {
    async resolve(_, request) {
      expect(request.lookOnly).toBe(false);
      const call = request.key.split('/')[1] ?? '';
      asked.push(call);
      const answer = answers[call];
      if (!answer) throw new StewardError('CATALOG_UNAVAILABLE', 'cannot be reached');
      return answer;
    },
  };
  const closeRun = createCloseRun({
    store: bench.calls,
    catalogs: catalogs as CatalogPort,
    deliver: (_, ids) => {
      delivered.push(ids);
      return deliver();
    },
    push: {
      onStop: () => {
        throw new Error('closing is what a stop leads to');
      },
      epoch: () => 0,
    },
    log: { warn: () => undefined },
  });
  const input: CloseRunInput = { ...run.ref, status: 'cancelled', reason: 'cancelled', ...more };
  const end = await endOf(activityEnvironment().run(closeRun, input));
  return { end, asked: asked.toSorted(), delivered };
}

const stateOf = async (run: SeededRun, call: string) => (await run.call(call)).state;

test('what was started is settled first, and told for what it was', async () => {
  const run = await bench.run();
  for (const call of ['1.0', '1.1', '1.2']) await run.judge(call, { state: 'started', attempts: 1 });
  await run.judge('1.3');
  const { end, asked } = await close(run, { '1.0': RECEIPT, '1.1': { kind: 'tombstone' }, '1.2': RECEIPT });
  expect(end).toMatchObject({ costMicroUsd: 0, unknown: 0 });
  expect(asked).toEqual(['1.0', '1.1', '1.2']);
  expect(await Promise.all(['1.0', '1.1', '1.2', '1.3'].map((call) => stateOf(run, call)))).toEqual([
    'done',
    'cancelled',
    'done',
    'cancelled',
  ]);
  expect((await run.kinds()).at(-1)).toBe('run.closed');
  expect(await run.row()).toMatchObject({ status: 'cancelled', stop_message: 'was cancelled' });
});

test('a call that cannot be settled keeps the run open, settles the others, and is shown', async () => {
  const run = await bench.run();
  for (const call of ['1.0', '1.1']) await run.judge(call, { state: 'started', attempts: 1 });
  const { end } = await close(run, { '1.1': RECEIPT });
  expect(end).toBe('retries OUTCOME_UNKNOWN');
  expect([await stateOf(run, '1.0'), await stateOf(run, '1.1')]).toEqual(['outcome_unknown', 'done']);
  expect(await run.row()).toMatchObject({ closed_at: null });
  // Until it can be.
  expect((await close(run, { '1.0': { kind: 'tombstone' } })).end).toMatchObject({ unknown: 0 });
});

test('giving up closes without knowing, and says so', async () => {
  const run = await bench.run();
  await run.judge('1.0', { state: 'started', attempts: 1 });
  const { end } = await close(
    run,
    {},
    { giveUp: true, status: 'terminated', reason: 'terminated', message: 'was terminated' },
  );
  expect(end).toMatchObject({ unknown: 1 });
  expect(await stateOf(run, '1.0')).toBe('outcome_unknown');
  expect(await run.row()).toMatchObject({ status: 'terminated', stop_message: 'was terminated' });
});

test('a repeat changes nothing; a delivery that fails is left to the sweeper', async () => {
  const tenant = await bench.database.tenant({ max_concurrent_runs: 1 });
  const run = await bench.run({ tenant });
  await bench.run({ tenant, columns: { status: 'queued', admitted_at: null, workflow_started_at: null } });
  const away = () => Promise.reject(new Error('Temporal is away'));
  const first = await close(run, {}, {}, away);
  expect(first.end).toMatchObject({ steps: 1 });
  expect(first.delivered).toEqual([[expect.any(Number)]]);
  const again = await close(run, {}, { status: 'completed', reason: null });
  expect(again.end).toEqual(first.end);
  expect(again.delivered).toEqual([[]]);
  expect(await run.row()).toMatchObject({ status: 'cancelled' });
});
