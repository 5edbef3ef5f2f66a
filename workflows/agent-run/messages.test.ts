import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { CloseRunInput } from '#domain/ports/run-activities.ts';
import { DEFAULT_LIMITS } from '#domain/run.ts';
import { allowed, proposing, type RunWorkflows, runWorkflows } from '#test/support/run-workflows.ts';

let runs: RunWorkflows;

beforeAll(async () => {
  runs = await runWorkflows();
}, 180_000);

afterAll(() => runs.stop(), 60_000);

const closed = { costMicroUsd: 700, steps: 3, unknown: 0 };
/** Somebody says something each time the run is done, so many times. */
const spokenTo =
  (times: number) =>
  ({ mayGoOn }: CloseRunInput, { nth }: { nth: number }) =>
    mayGoOn && nth <= times ? { ...closed, unread: 1 } : closed;

test('a run that is done goes on while something is unread, and then ends', async () => {
  const run = await runs.start({ closeRun: spokenTo(2) });
  expect(await run.result()).toMatchObject({ status: 'completed', turns: 3 });
  expect(run.began).toEqual(['think 1', 'closeRun', 'think 2', 'closeRun', 'think 3', 'closeRun']);
  expect(run.closed.map((input) => input.mayGoOn)).toEqual([true, true, true]);
});

test('a run that is stopped by a limit does not go on, also where it was done and was spoken to', async () => {
  const run = await runs.start({ closeRun: spokenTo(9) }, { limits: { ...DEFAULT_LIMITS, modelCalls: 2 } });
  expect(await run.ending()).toMatchObject({ status: 'FAILED', type: 'limit.model_calls' });
  expect(run.closed.map((input) => [input.status, input.mayGoOn])).toEqual([
    ['completed', true],
    ['completed', true],
    ['failed', undefined],
  ]);
});

test('it is shown as running again, can be cancelled, and continues as new where it must', async () => {
  const talking = await runs.start({
    think: ({ turn }) => (turn === 2 ? proposing(allowed('2.0')) : { kind: 'final', tokens: 1, costMicroUsd: 1 }),
    closeRun: spokenTo(1),
    act: (_, { signal }) =>
      new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
  });
  await talking.untilBegan('act 2.0');
  expect(await talking.state()).toMatchObject({ phase: 'acting', turn: 2 });
  await talking.handle.cancel();
  expect(await talking.ending()).toMatchObject({ status: 'CANCELLED' });
  expect(talking.closed.at(-1)).toMatchObject({ status: 'cancelled' });
  const long = await runs.start({ closeRun: spokenTo(3) }, { turnsPerExecution: 1 });
  expect(await long.result()).toMatchObject({ status: 'completed', turns: 4 });
  expect(await long.events()).toContain('workflowExecutionStarted');
});
