import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { ApplicationFailure } from '@temporalio/activity';
import { StewardError } from '#domain/errors.ts';
import { DEFAULT_LIMITS } from '#domain/run.ts';
import {
  allowed,
  asked,
  gate,
  once,
  type RunWorkflows,
  runWorkflows,
  type Script,
  type ScriptedRun,
  untilStopped,
} from '#test/support/run-workflows.ts';

let runs: RunWorkflows;

beforeAll(async () => {
  runs = await runWorkflows();
}, 120_000);

afterAll(async () => {
  await runs.stop();
}, 60_000);

/** What a run of each phase does, and how to tell that it is in it. */
const phases: readonly (readonly [string, Script, (run: ScriptedRun) => Promise<unknown>])[] = [
  ['a model call', { think: (_, { signal }) => untilStopped(signal) }, (run) => run.untilBegan('think')],
  [
    'tool calls side by side',
    { think: once(allowed('1.0'), allowed('1.1')), act: (_, { signal }) => untilStopped(signal) },
    (run) => run.untilBegan('act', 2),
  ],
  [
    'the wait for an approval',
    { think: once(asked('1.0', 'a1')) },
    (run) => run.until((state) => state.phase === 'awaiting_approval'),
  ],
  [
    'the wait for budget',
    { think: () => ({ kind: 'budget', level: 'run', needMicroUsd: 1 }) },
    (run) => run.until((state) => state.phase === 'awaiting_budget'),
  ],
  [
    'a pause',
    { think: once(asked('1.0', 'a1')), confirmDecision: (_, { nth }) => ({ state: nth === 1 ? 'open' : 'approved' }) },
    async (run) => {
      await run.until((state) => state.phase === 'awaiting_approval');
      await run.handle.signal('pauseRun', { by: 'op' });
      await run.handle.signal('decideApproval', { approvalId: 'a1', digest: 'd'.repeat(64) });
      await run.until((state) => state.phase === 'paused');
    },
  ],
];

test.each(phases)('cancelling during %s ends the run as cancelled, after its close', async (_, script, reached) => {
  const run = await runs.start(script);
  await reached(run);
  await run.handle.cancel();
  await run.handle.cancel();
  expect(await run.ending()).toMatchObject({ status: 'CANCELLED' });
  expect(run.closed).toEqual([{ tenant: 'acme', run: run.id, status: 'cancelled', reason: 'cancelled' }]);
  expect(run.began.at(-1)).toBe('closeRun');
  expect(await run.attributes()).toMatchObject({ RunStatus: 'cancelled', StopReason: 'cancelled' });
});

test('a run that is cancelled before a worker has seen it is closed, and nothing else', async () => {
  const run = await runs.start({}, {}, { startDelay: '500ms' });
  await run.handle.cancel();
  expect(await run.ending()).toMatchObject({ status: 'CANCELLED' });
  expect(run.began).toEqual(['closeRun']);
});

test('calls that did take place while they were being stopped do not make the run go on', async () => {
  const run = await runs.start(
    {
      think: once(allowed('1.0')),
      act: async (_, { signal }) => {
        await untilStopped(signal).catch(() => undefined);
        return { outcome: 'done' };
      },
    },
    // The turn ends in a continue-as-new, which would lose the cancel.
    { turnsPerExecution: 1 },
  );
  await run.untilBegan('act');
  await run.handle.cancel();
  expect(await run.ending()).toMatchObject({ status: 'CANCELLED' });
  expect(run.began).toEqual(['think 1', 'act 1.0', 'closeRun']);
});

test.each<[string, () => Error, Script['act']]>([
  ['an unclear outcome', () => new StewardError('OUTCOME_UNKNOWN', 'nobody knows'), undefined],
  ['a failure for good', () => ApplicationFailure.nonRetryable('gone', 'NOT_FOUND'), undefined],
])('a call that ends with %s because it was stopped still makes the run cancelled', async (_, failure) => {
  const run = await runs.start({
    think: once(allowed('1.0')),
    act: async (_input, { signal }) => {
      await untilStopped(signal).catch(() => undefined);
      throw failure();
    },
  });
  await run.untilBegan('act');
  await run.handle.cancel();
  expect(await run.ending()).toMatchObject({ status: 'CANCELLED' });
  expect(run.closed).toMatchObject([{ status: 'cancelled' }]);
});

test('a model call that fails because it was stopped makes the run cancelled, not failed', async () => {
  const run = await runs.start({
    think: async (_input, { signal }) => {
      await untilStopped(signal).catch(() => undefined);
      throw new StewardError('MODEL_CUT_OFF', 'broke off');
    },
  });
  await run.untilBegan('think');
  await run.handle.cancel();
  expect(await run.ending()).toMatchObject({ status: 'CANCELLED' });
});

test('a cancel while a run closes changes neither its end nor its close', async () => {
  const closing = gate();
  const run = await runs.start({
    closeRun: async () => {
      await closing.promise;
      return { costMicroUsd: 1, steps: 1, unknown: 0 };
    },
  });
  await run.untilBegan('closeRun');
  expect(await run.state()).toMatchObject({ phase: 'closing' });
  await run.handle.cancel();
  closing.resolve();
  expect(await run.ending()).toMatchObject({ status: 'COMPLETED' });
  expect(run.closed).toEqual([{ tenant: 'acme', run: run.id, status: 'completed', reason: null, mayGoOn: true }]);
});

test('while a run closes nobody is kept waiting for an answer', async () => {
  const closing = gate();
  const run = await runs.start({
    think: once(asked('1.0', 'a1')),
    closeRun: async () => {
      await closing.promise;
      return { costMicroUsd: 1, steps: 1, unknown: 0 };
    },
  });
  await run.until((state) => state.phase === 'awaiting_approval');
  await run.handle.cancel();
  await run.untilBegan('closeRun');
  const update = run.handle.executeUpdate('decideApproval', { args: [{ approvalId: 'a1', digest: 'd'.repeat(64) }] });
  expect(await update).toEqual({ applied: false, state: 'open' });
  expect(await run.handle.executeUpdate('raiseBudget', { args: [{ raiseId: 'r' }] })).toEqual({ applied: false });
  closing.resolve();
  expect(await run.ending()).toMatchObject({ status: 'CANCELLED' });
});

test('a run out of time that is cancelled as well keeps the reason it stopped for', async () => {
  const stopping = gate();
  const run = await runs.start(
    {
      think: async (_, { signal }) => {
        await untilStopped(signal).catch(() => undefined);
        await stopping.promise;
        throw new StewardError('CANCELLED', 'stopped');
      },
    },
    { limits: { ...DEFAULT_LIMITS, activeMs: 300 } },
  );
  await run.untilTimersFired(1);
  await run.handle.cancel();
  stopping.resolve();
  await run.ending();
  expect(run.closed).toMatchObject([{ status: 'failed', reason: 'limit.active_time' }]);
});
