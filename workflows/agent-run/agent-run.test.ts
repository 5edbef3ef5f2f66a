import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { ApplicationFailure } from '@temporalio/activity';
import { DEFAULT_LIMITS } from '#domain/run.ts';
import {
  allowed,
  asked,
  gate,
  once,
  proposing,
  type RunWorkflows,
  runWorkflows,
  type Script,
  untilStopped,
} from '#test/support/run-workflows.ts';

let runs: RunWorkflows;

beforeAll(async () => {
  runs = await runWorkflows();
}, 120_000);

afterAll(async () => {
  await runs.stop();
}, 60_000);

test('a run without tools is one turn and its close', async () => {
  const run = await runs.start({});
  expect(await run.result()).toEqual({
    status: 'completed',
    stopReason: null,
    turns: 1,
    toolCalls: 0,
    costMicroUsd: 700,
  });
  expect(run.began).toEqual(['think 1', 'closeRun']);
  expect(run.closed).toEqual([{ tenant: 'acme', run: run.id, status: 'completed', reason: null, mayGoOn: true }]);
});

test('independent calls run side by side, and the next turn waits for all of them', async () => {
  const open = [gate(), gate()];
  const run = await runs.start({
    think: once(allowed('1.0', { keys: ['task/1'], effect: true }), allowed('1.1', { keys: ['task/2'], effect: true })),
    act: async (input) => {
      await open[Number(input.call.slice(2))]?.promise;
      return { outcome: 'done' };
    },
  });
  await run.untilBegan('act', 2);
  open[1]?.resolve();
  await run.until((state) => state.running.length === 1);
  expect(run.began).not.toContain('think 2');
  open[0]?.resolve();
  expect(await run.result()).toMatchObject({ status: 'completed', turns: 2, toolCalls: 2 });
});

test('conflicting calls run in their order, reads of one thing side by side', async () => {
  const finished: string[] = [];
  const reads = gate();
  const run = await runs.start({
    think: once(
      allowed('1.0', { keys: ['task/1'], effect: true }),
      allowed('1.1', { keys: ['task/1'] }),
      allowed('1.2', { keys: ['task/1', 'task/2'] }),
      allowed('1.3', { keys: ['task/2'], effect: true }),
    ),
    act: async (input) => {
      if (input.call === '1.1' || input.call === '1.2') await reads.promise;
      finished.push(input.call);
      return { outcome: 'done' };
    },
  });
  await run.untilBegan('act', 3);
  expect(finished).toEqual(['1.0']);
  expect(run.began.filter((line) => line.startsWith('act')).toSorted()).toEqual(['act 1.0', 'act 1.1', 'act 1.2']);
  reads.resolve();
  await run.result();
  expect(finished.at(-1)).toBe('1.3');
});

test('denied calls are not acted on, and a turn of nothing else goes on to the next', async () => {
  const run = await runs.start({
    think: once(allowed('1.0', { verdict: 'deny', code: 'POLICY_DENIED' })),
  });
  expect(await run.result()).toMatchObject({ status: 'completed', turns: 2, toolCalls: 0 });
  expect(run.began).toEqual(['think 1', 'think 2', 'closeRun']);
});

test.each<[string, NonNullable<Script['think']>, Partial<typeof DEFAULT_LIMITS>, string, number]>([
  ['model calls', ({ turn }) => proposing(allowed(`${turn}.0`)), { modelCalls: 3 }, 'limit.model_calls', 3],
  ['tokens', ({ turn }) => proposing(allowed(`${turn}.0`)), { tokens: 15 }, 'limit.tokens', 2],
  [
    'tool calls, after those that are within it',
    ({ turn }) => proposing(allowed(`${turn}.0`), allowed(`${turn}.1`, { verdict: 'deny', code: 'LIMIT_REACHED' })),
    {},
    'limit.tool_calls',
    1,
  ],
  ['the loop guard', ({ turn }) => proposing(allowed(`${turn}.0`, { sig: 'same' })), {}, 'stuck', 4],
  [
    'unknown tools',
    ({ turn }) => proposing(allowed(`${turn}.0`), allowed(`${turn}.1`, { verdict: 'deny', code: 'TOOL_UNKNOWN' })),
    {},
    'unknown_tool',
    1,
  ],
  [
    "the model's own stop",
    () => ({ kind: 'stop', reason: 'model.refusal', message: 'ended because', tokens: 1, costMicroUsd: 1 }),
    {},
    'model.refusal',
    0,
  ],
])('%s end the run as failed with their own reason', async (_, think, limits, reason, acted) => {
  const run = await runs.start({ think }, { limits: { ...DEFAULT_LIMITS, ...limits } });
  expect(await run.ending()).toMatchObject({ status: 'FAILED', type: reason });
  expect(run.closed).toMatchObject([{ status: 'failed', reason }]);
  expect(run.began.filter((line) => line.startsWith('act'))).toHaveLength(acted);
});

test('active time ends what is in flight, and waiting for a person does not count', async () => {
  const run = await runs.start(
    {
      think: once(asked('1.0', 'a1')),
      confirmDecision: (_, { nth }) => ({ state: nth < 2 ? 'open' : 'approved' }),
      act: (_, { signal }) => untilStopped(signal),
    },
    { limits: { ...DEFAULT_LIMITS, activeMs: 1_500 } },
  );
  await run.until((state) => state.phase === 'awaiting_approval');
  // Longer than the limit, and nothing ends; a timer that has fired is not set again while nothing works.
  const waited = Date.now();
  await run.untilTimersFired(1);
  expect(Date.now() - waited).toBeGreaterThan(500);
  await expect(run.untilTimersFired(2, 2_000)).rejects.toThrow('gave up');
  await run.handle.signal('decideApproval', { approvalId: 'a1', digest: 'd'.repeat(64) });
  await run.untilBegan('act');
  expect(await run.ending()).toMatchObject({ status: 'FAILED', type: 'limit.active_time' });
  expect(run.closed).toMatchObject([{ status: 'failed', reason: 'limit.active_time' }]);
});

test('a model that fails for good ends the run as model.error, with what it said', async () => {
  const run = await runs.start({
    think: () => {
      throw ApplicationFailure.nonRetryable('The key was refused.', 'MODEL_AUTH');
    },
  });
  expect(await run.ending()).toMatchObject({ status: 'FAILED', type: 'model.error' });
  expect(run.closed).toMatchObject([{ status: 'failed', reason: 'model.error', message: 'The key was refused.' }]);
});

test('a call that fails for good ends the run as internal, once the others are over', async () => {
  const aborted = gate();
  const run = await runs.start({
    think: once(allowed('1.0'), allowed('1.1')),
    act: async (input, { signal }) => {
      if (input.call === '1.0') {
        await run.untilBegan('act', 2);
        throw ApplicationFailure.nonRetryable('no such call', 'NOT_FOUND');
      }
      return new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          aborted.resolve();
          reject(signal.reason);
        });
      });
    },
  });
  await aborted.promise;
  expect(await run.ending()).toMatchObject({ status: 'FAILED', type: 'internal' });
  expect(run.closed).toMatchObject([{ status: 'failed', reason: 'internal', message: 'no such call' }]);
});

test('where what is left cannot be settled, the run closes without knowing', async () => {
  const run = await runs.start({
    closeRun: (input) => {
      if (!input.giveUp) throw ApplicationFailure.nonRetryable('unreachable', 'OUTCOME_UNKNOWN');
      return { costMicroUsd: 5, steps: 1, unknown: 1 };
    },
  });
  expect(await run.result()).toMatchObject({ status: 'completed', costMicroUsd: 5 });
  expect(run.began).toEqual(['think 1', 'closeRun', 'closeRun giving up']);
});

test('continues as new at a turn boundary and carries everything along', async () => {
  const run = await runs.start(
    {
      think: ({ turn }) =>
        turn <= 5
          ? proposing(allowed(`${turn}.0`, { sig: 'same', tool: `t${turn}` }))
          : { kind: 'final', tokens: 1, costMicroUsd: 1 },
    },
    { turnsPerExecution: 2 },
  );
  // The loop guard's window goes over three executions.
  expect(await run.ending()).toMatchObject({ status: 'FAILED', type: 'stuck' });
  expect(run.began.filter((line) => line.startsWith('think'))).toEqual([1, 2, 3, 4, 5].map((n) => `think ${n}`));
  const { events } = await run.handle.fetchHistory();
  const started = events?.[0]?.workflowExecutionStartedEventAttributes;
  expect(started?.continuedExecutionRunId).toBeTruthy();
  const carried = JSON.parse(Buffer.from(started?.input?.payloads?.[0]?.data ?? []).toString());
  expect(carried.carry).toMatchObject({
    turn: 4,
    modelCalls: 4,
    toolCalls: 4,
    tokens: 40,
    costMicroUsd: 400,
    loop: { sig: 'same', count: 4 },
    unknownTools: 0,
    badSignals: 0,
    paused: false,
    toolsUsed: ['t1', 't2', 't3', 't4'],
    activeMs: expect.any(Number),
  });
  expect(carried.carry.activeMs).toBeGreaterThan(0);
  expect(carried).toMatchObject({ tenant: 'acme', agent: 'helper', turnsPerExecution: 2 });
});

test('what operators filter and read in Temporal is there', async () => {
  const go = gate();
  const run = await runs.start({
    think: once(asked('1.0', 'a1', { tool: 'delete_task' }), allowed('1.1', { tool: 'list_tasks' })),
    confirmDecision: async (_, { nth }) => {
      if (nth === 1) return { state: 'open' };
      await go.promise;
      return { state: 'denied' };
    },
  });
  await run.until((state) => state.phase === 'awaiting_approval' && state.running.length === 0);
  expect(await run.state()).toEqual({
    run: run.id,
    turn: 1,
    phase: 'awaiting_approval',
    waitingFor: [{ approvalId: 'a1', callId: '1.0', tool: 'delete_task' }],
    running: [],
    costMicroUsd: 100,
    modelCalls: 1,
    toolCalls: 2,
  });
  const waiting = await run.attributes();
  expect(waiting).toMatchObject({ RunStatus: 'awaiting_approval', CostMicroUsd: 100 });
  expect(waiting.ToolsUsed).toEqual(['delete_task', 'list_tasks']);
  expect(Math.abs(Date.now() - (waiting.AwaitingSince as Date).getTime())).toBeLessThan(30_000);
  expect(await run.details()).toContain('waiting for a person: delete_task (1.0), approval `a1`');

  await run.handle.signal('decideApproval', { approvalId: 'a1', digest: 'd'.repeat(64) });
  go.resolve();
  await run.result();
  const closed = await run.attributes();
  expect(closed).toMatchObject({ RunStatus: 'completed', CostMicroUsd: 700, StepCount: 3 });
  expect(closed).not.toHaveProperty('AwaitingSince');
  expect(closed).not.toHaveProperty('StopReason');
  const { events } = await run.handle.fetchHistory();
  const summaries = events?.flatMap((event) =>
    event.activityTaskScheduledEventAttributes ? [Buffer.from(event.userMetadata?.summary?.data ?? []).toString()] : [],
  );
  expect(summaries).toEqual([
    '"turn 1 of at most 20"',
    expect.stringMatching(/list_tasks|delete_task/),
    expect.stringMatching(/list_tasks|delete_task/),
    '"delete_task (1.0)"',
    '"turn 2 of at most 20"',
    '',
  ]);
});
