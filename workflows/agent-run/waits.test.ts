import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { WorkflowUpdateFailedError } from '@temporalio/client';
import type { ConfirmDecisionResult, ThinkResult } from '#domain/ports/run-activities.ts';
import { DEFAULT_WAITS } from '#domain/run.ts';
import { FIRST_STATE, toCarry } from '#domain/run-state.ts';
import { MAX_SIGNED_DECISION } from '#domain/run-workflow.ts';
import { allowed, asked, gate, once, type RunWorkflows, runWorkflows } from '#test/support/run-workflows.ts';
import { BAD_SIGNALS_HEARD } from './inbox.ts';

let runs: RunWorkflows;

beforeAll(async () => {
  runs = await runWorkflows();
}, 120_000);

afterAll(async () => {
  await runs.stop();
}, 60_000);

const DIGEST = 'd'.repeat(64);
const about = (approvalId: string, signed?: string) => ({ approvalId, digest: DIGEST, ...(signed ? { signed } : {}) });

/** A guard whose answers a test gives. */
function guard(): {
  readonly states: Map<string, ConfirmDecisionResult['state']>;
  readonly confirmDecision: (input: { approval: string; signed?: string }) => ConfirmDecisionResult;
} {
  const states = new Map<string, ConfirmDecisionResult['state']>();
  return {
    states,
    confirmDecision: (input) => {
      const state = states.get(input.approval) ?? 'open';
      return input.signed === undefined ? { state } : { state, forged: true };
    },
  };
}

test('an approval keeps its own call waiting and no other', async () => {
  const { states, confirmDecision } = guard();
  const run = await runs.start({ think: once(asked('1.0', 'a1'), allowed('1.1')), confirmDecision });
  await run.until((state) => state.phase === 'awaiting_approval');
  await run.untilBegan('act 1.1');
  expect(run.began).not.toContain('act 1.0');
  states.set('a1', 'approved');
  await run.handle.signal('decideApproval', about('a1'));
  expect(await run.result()).toMatchObject({ status: 'completed', toolCalls: 2 });
  expect(run.began).toContain('act 1.0');
});

test.each(['denied', 'expired', 'void'] as const)(
  'a call whose approval is %s is not run, and the run goes on',
  async (state) => {
    const { states, confirmDecision } = guard();
    const run = await runs.start({ think: once(asked('1.0', 'a1')), confirmDecision });
    await run.until((view) => view.phase === 'awaiting_approval');
    states.set('a1', state);
    await run.handle.signal('decideApproval', about('a1'));
    expect(await run.result()).toMatchObject({ status: 'completed', turns: 2 });
    expect(run.began).not.toContain('act 1.0');
  },
);

test('an answer that came before the run was listening is not lost', async () => {
  const { states, confirmDecision } = guard();
  const judged = gate();
  const calls = once(asked('1.0', 'a1'));
  const run = await runs.start({
    think: async (input, played) => {
      if (input.turn === 1) await judged.promise;
      return calls(input, played);
    },
    confirmDecision,
  });
  await run.untilBegan('think 1');
  // The guard has committed the approval, and a person answers at once: the turn is still on its way.
  states.set('a1', 'approved');
  await run.handle.signal('decideApproval', about('a1'));
  judged.resolve();
  expect(await run.result()).toMatchObject({ status: 'completed' });
  expect(run.began).toContain('act 1.0');
});

test('people are asked about conflicting calls at once; what was approved runs in order', async () => {
  const { states, confirmDecision } = guard();
  const keys = ['task/1'];
  const run = await runs.start({
    think: once(asked('1.0', 'a1', { keys }), asked('1.1', 'a2', { keys })),
    confirmDecision,
  });
  const { waitingFor } = await run.until((state) => state.waitingFor.length === 2);
  expect(waitingFor.map((wait) => wait.approvalId)).toEqual(['a1', 'a2']);
  states.set('a2', 'approved');
  await run.handle.signal('decideApproval', about('a2'));
  await run.until((state) => state.waitingFor.length === 1);
  expect(run.began.filter((line) => line.startsWith('act'))).toEqual([]);
  states.set('a1', 'approved');
  await run.handle.signal('decideApproval', about('a1'));
  await run.result();
  expect(run.began.filter((line) => line.startsWith('act'))).toEqual(['act 1.0', 'act 1.1']);
});

test('an approval that nobody answers ends at its expiry, also where the guard is a moment behind', async () => {
  const expiresAt = Date.now() + 1_000;
  const run = await runs.start({
    think: once(asked('1.0', 'a1', { expiresAt })),
    confirmDecision: () => ({ state: Date.now() < expiresAt + 500 ? 'open' : 'expired' }),
  });
  expect(await run.result()).toMatchObject({ status: 'completed' });
  expect(run.began).not.toContain('act 1.0');
  expect(run.began.filter((line) => line === 'confirmDecision a1').length).toBeLessThan(6);
});

test('messages that are no message to this run change nothing', async () => {
  const { states, confirmDecision } = guard();
  const run = await runs.start({ think: once(asked('1.0', 'a1')), confirmDecision });
  await run.until((state) => state.phase === 'awaiting_approval');
  await run.untilBegan('confirmDecision');
  const nonsense = [
    null,
    'a1',
    42,
    {},
    { approvalId: 'a1' },
    { approvalId: 'a2' },
    { approvalId: 'a2', digest: DIGEST },
    { approvalId: 'a1', digest: 'e'.repeat(64) },
    { ...about('a1'), signed: 7 },
    about('a1', 's'.repeat(MAX_SIGNED_DECISION + 1)),
  ];
  for (const each of nonsense) await run.handle.signal('decideApproval', each);
  for (const each of nonsense) {
    const failed = await run.handle.executeUpdate('decideApproval', { args: [each] }).catch((error: unknown) => error);
    expect((failed as WorkflowUpdateFailedError).cause).toMatchObject({ type: 'WRONG_STATE' });
  }
  expect(run.began.filter((line) => line.startsWith('confirmDecision'))).toHaveLength(1);
  states.set('a1', 'approved');
  expect(await run.handle.executeUpdate('decideApproval', { args: [about('a1')] })).toEqual({
    applied: true,
    state: 'approved',
  });
  await run.result();
});

test('an Update says whether the answer was applied, also a second time', async () => {
  const { states, confirmDecision } = guard();
  const acting = gate();
  const run = await runs.start({
    think: once(asked('1.0', 'a1')),
    confirmDecision,
    act: async () => {
      await acting.promise;
      return { outcome: 'done' };
    },
  });
  await run.until((state) => state.phase === 'awaiting_approval');
  const update = () => run.handle.executeUpdate('decideApproval', { args: [about('a1')] });
  // Nobody has decided: the asker hears that at once and not at the end of his patience.
  expect(await update()).toEqual({ applied: false, state: 'open' });
  states.set('a1', 'approved');
  const [first, second] = await Promise.all([update(), update()]);
  expect([first, second]).toEqual([
    { applied: true, state: 'approved' },
    { applied: true, state: 'approved' },
  ]);
  expect(await update()).toEqual({ applied: true, state: 'approved' });
  acting.resolve();
  await run.result();
  expect(run.began.filter((line) => line.startsWith('act'))).toEqual(['act 1.0']);
});

test('a flood of forged decisions is quietened, and a true one still gets through', async () => {
  const { states, confirmDecision } = guard();
  const expiresAt = Date.now() + 14_000;
  const run = await runs.start({ think: once(asked('1.0', 'a1', { expiresAt })), confirmDecision });
  await run.until((state) => state.phase === 'awaiting_approval');
  const asks = () => run.began.filter((line) => line.startsWith('confirmDecision')).length;
  for (let wave = 0; wave < BAD_SIGNALS_HEARD + 20; wave += 1) {
    await run.handle.signal('decideApproval', about('a1', `forged-${wave}`));
    if (wave < BAD_SIGNALS_HEARD) await run.untilBegan('confirmDecision', wave + 2);
  }
  // The one that was asked about before anything came, and those that are heard.
  expect(asks()).toBe(BAD_SIGNALS_HEARD + 1);
  states.set('a1', 'approved');
  await run.handle.signal('decideApproval', about('a1'));
  expect(await run.result()).toMatchObject({ status: 'completed' });
  expect(run.began).toContain('act 1.0');
  expect(asks()).toBeLessThanOrEqual(BAD_SIGNALS_HEARD + 3);
});

test('a pause lets what runs finish, starts nothing more, and ends with a resume', async () => {
  const [first, second] = [gate(), gate()];
  const run = await runs.start({
    think: once(allowed('1.0', { keys: ['k/1'], effect: true }), allowed('1.1', { keys: ['k/1'], effect: true })),
    act: async ({ call }) => {
      await (call === '1.0' ? first : second).promise;
      return { outcome: 'done' };
    },
  });
  await run.untilBegan('act 1.0');
  await run.handle.signal('pauseRun', { by: 'op' });
  first.resolve();
  await run.until((state) => state.phase === 'paused');
  expect(await run.attributes()).toMatchObject({ RunStatus: 'paused' });
  expect(run.began).not.toContain('act 1.1');
  await run.handle.signal('resumeRun', { by: 'op' });
  await run.untilBegan('act 1.1');
  await run.handle.signal('pauseRun', { by: 'op' });
  second.resolve();
  await run.until((state) => state.phase === 'paused');
  await run.handle.signal('resumeRun', { by: 'op' });
  expect(await run.result()).toMatchObject({ status: 'completed', turns: 2 });
});

test('an approval is answered while the run is paused, and its call waits for the resume', async () => {
  const { states, confirmDecision } = guard();
  const run = await runs.start({ think: once(asked('1.0', 'a1')), confirmDecision });
  await run.until((state) => state.phase === 'awaiting_approval');
  await run.handle.signal('pauseRun', { by: 'op' });
  states.set('a1', 'approved');
  await run.handle.signal('decideApproval', about('a1'));
  await run.until((state) => state.phase === 'paused');
  expect(run.began).not.toContain('act 1.0');
  await run.handle.signal('resumeRun', { by: 'op' });
  expect(await run.result()).toMatchObject({ status: 'completed' });
});

test('a pause that nobody ends ends the run', async () => {
  const run = await runs.start(
    { think: once(allowed('1.0')), act: () => ({ outcome: 'done' }) },
    { waits: { ...DEFAULT_WAITS, pauseMs: 400 } },
  );
  await run.handle.signal('pauseRun', { by: 'op' });
  expect(await run.ending()).toMatchObject({ status: 'FAILED', type: 'pause_expired' });
  expect(run.closed).toMatchObject([{ status: 'failed', reason: 'pause_expired' }]);
});

test('activities that know of a pause before the workflow does are asked again, and nothing is denied', async () => {
  let paused = true;
  const run = await runs.start({
    think: ({ turn }, { nth }): ThinkResult => {
      if (nth === 1) return { kind: 'paused' };
      return turn === 1
        ? { kind: 'calls', calls: [allowed('1.0')], tokens: 1, costMicroUsd: 1 }
        : { kind: 'final', tokens: 1, costMicroUsd: 1 };
    },
    act: () => ({ outcome: paused ? 'paused' : 'done' }),
  });
  await run.untilBegan('act 1.0');
  await run.handle.signal('pauseRun', { by: 'op' });
  await run.until((state) => state.phase === 'paused');
  paused = false;
  await run.handle.signal('resumeRun', { by: 'op' });
  expect(await run.result()).toMatchObject({ status: 'completed', turns: 2, toolCalls: 1 });
  expect(run.began.filter((line) => line === 'think 1')).toHaveLength(2);
});

test('a paused run that continues as new stays paused', async () => {
  const going = gate();
  const run = await runs.start(
    {
      think: once(allowed('1.0')),
      act: async () => {
        await going.promise;
        return { outcome: 'done' };
      },
    },
    { turnsPerExecution: 1 },
  );
  await run.untilBegan('act');
  await run.handle.signal('pauseRun', { by: 'op' });
  going.resolve();
  await run.until((state) => state.phase === 'paused');
  expect(run.began).not.toContain('think 2');
  expect((await run.handle.describe()).raw.workflowExecutionInfo?.firstRunId).not.toBe(
    (await run.handle.describe()).runId,
  );
  await run.handle.signal('resumeRun', { by: 'op' });
  expect(await run.result()).toMatchObject({ status: 'completed', turns: 2 });
});

const short = (level: 'run' | 'tenant_month' = 'run'): ThinkResult => ({ kind: 'budget', level, needMicroUsd: 5 });
const final: ThinkResult = { kind: 'final', tokens: 1, costMicroUsd: 1 };

test('a spent budget waits for a raise, again where it was too small, and then goes on', async () => {
  const run = await runs.start({ think: (_, { nth }) => (nth < 3 ? short() : final) });
  await run.until((state) => state.phase === 'awaiting_budget');
  expect(await run.attributes()).toMatchObject({ RunStatus: 'budget_exceeded' });
  await run.handle.signal('raiseBudget', { raiseId: 'r1' });
  await run.untilBegan('think', 2);
  await run.until((state) => state.phase === 'awaiting_budget');
  expect(await run.handle.executeUpdate('raiseBudget', { args: [{ raiseId: 'r2' }] })).toEqual({ applied: true });
  expect(await run.result()).toMatchObject({ status: 'completed', turns: 1 });
  expect(await run.attributes()).toMatchObject({ RunStatus: 'completed' });
});

test('raises that are too small do not lengthen the wait', async () => {
  const began = Date.now();
  const run = await runs.start(
    {
      think: async (_, { nth }) => {
        // Each look brings the next raise with it.
        if (nth < 8) await run.handle.signal('raiseBudget', { raiseId: `r${nth}` });
        return short();
      },
    },
    { waits: { ...DEFAULT_WAITS, budgetMs: 3_000 } },
  );
  expect(await run.ending()).toMatchObject({ status: 'FAILED', type: 'budget' });
  expect(Date.now() - began).toBeLessThan(6_000);
  expect(run.closed).toMatchObject([{ status: 'budget_exceeded', reason: 'budget' }]);
});

test('a raise that comes while the budget is looked at is not lost', async () => {
  const looking = gate();
  const run = await runs.start({
    think: async (_, { nth }) => {
      if (nth > 1) return final;
      await looking.promise;
      return short();
    },
  });
  await run.untilBegan('think');
  expect(await run.handle.executeUpdate('raiseBudget', { args: [{ raiseId: 'r1' }] })).toEqual({ applied: true });
  looking.resolve();
  expect(await run.result()).toMatchObject({ status: 'completed' });
});

test('a wait for budget that continues as new ends when it would have', async () => {
  const carry = toCarry(FIRST_STATE, { activeMs: 0, badSignals: 0, paused: false, budgetUntil: Date.now() + 1_500 });
  const run = await runs.start({ think: () => short() }, { carry });
  expect(await run.ending()).toMatchObject({ status: 'FAILED', type: 'budget' });
});
