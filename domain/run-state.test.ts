import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import type { JudgedCall, ThinkResult } from './ports/run-activities.ts';
import { DEFAULT_LIMITS, type RunLimits } from './run.ts';
import {
  afterThink,
  FIRST_STATE,
  fromCarry,
  nextTurn,
  type RunState,
  runLoop,
  STUCK_AFTER,
  toCarry,
  UNKNOWN_TOOLS_ALLOWED,
  waitsFor,
} from './run-state.ts';

const call = (id: string, more: Partial<JudgedCall> = {}): JudgedCall => ({
  id,
  tool: 'tool',
  verdict: 'allow',
  sig: id,
  ...more,
});
const proposing = (...calls: JudgedCall[]): ThinkResult => ({ kind: 'calls', calls, tokens: 10, costMicroUsd: 5 });
const unknown = (id: string): JudgedCall => call(id, { verdict: 'deny', code: 'TOOL_UNKNOWN' });

const anyCall = fc.record({
  tool: fc.constantFrom('a', 'b', 'c'),
  verdict: fc.constantFrom('allow', 'deny', 'ask'),
  sig: fc.constantFrom('1', '2'),
  keys: fc.option(fc.array(fc.constantFrom('k/1', 'k/2', 'k/3'), { maxLength: 3 }), { nil: undefined }),
  effect: fc.option(fc.constant(true), { nil: undefined }),
  code: fc.option(fc.constantFrom('TOOL_UNKNOWN', 'LIMIT_REACHED', 'POLICY_DENIED'), { nil: undefined }),
});
const anyCalls = fc
  .array(anyCall, { maxLength: 12 })
  .map((calls) => calls.map((one, index): JudgedCall => JSON.parse(JSON.stringify({ ...one, id: `1.${index}` }))));
const counted = { tokens: fc.nat(500), costMicroUsd: fc.nat(1_000) };
const anyResult: fc.Arbitrary<ThinkResult> = fc.oneof(
  fc.record({ kind: fc.constant('calls' as const), calls: anyCalls, ...counted }),
  fc.record({ kind: fc.constant('final' as const), ...counted }),
  fc.record({ kind: fc.constant('budget' as const), level: fc.constant('run' as const), needMicroUsd: fc.nat() }),
  fc.constant({ kind: 'paused' as const }),
);
const limits: RunLimits = { ...DEFAULT_LIMITS, modelCalls: 7, tokens: 1_000 };

test('however the model answers, no call is begun past the limits, and nothing is counted backwards', () => {
  fc.assert(
    fc.property(fc.array(anyResult, { maxLength: 60 }), (results) => {
      let state: RunState = FIRST_STATE;
      let calls = 0;
      for (const result of results) {
        const planned = nextTurn(state, limits);
        if (planned.do === 'stop') {
          expect(['limit.model_calls', 'limit.tokens']).toContain(planned.reason);
          return;
        }
        expect(planned).toEqual({ do: 'think', turn: state.turn + 1 });
        const before = state;
        const after = afterThink(state, result);
        state = after.state;
        if (result.kind === 'budget' || result.kind === 'paused') {
          expect(state).toBe(before);
          continue;
        }
        calls += 1;
        expect(state.modelCalls).toBe(calls);
        expect(state.turn).toBe(before.turn + 1);
        expect(state.tokens).toBe(before.tokens + result.tokens);
        expect(state.costMicroUsd).toBe(before.costMicroUsd + result.costMicroUsd);
        expect(state.toolsUsed.length).toBeLessThanOrEqual(50);
        if (after.next.do !== 'act') return;
        // Nothing that was denied is ever carried out.
        expect(after.next.calls.every((one) => one.verdict !== 'deny')).toBe(true);
      }
      expect(calls).toBeLessThanOrEqual(limits.modelCalls);
      expect(state.tokens).toBeLessThan(limits.tokens + 500);
    }),
  );
});

test('conflicting calls are ordered, every pair of them, and no call waits for a later one', () => {
  fc.assert(
    fc.property(anyCalls, (calls) => {
      const order = waitsFor(calls);
      expect([...order.keys()]).toEqual(calls.map((one) => one.id));
      for (const [later, one] of calls.entries()) {
        const waits = order.get(one.id) ?? [];
        for (const [earlier, other] of calls.entries()) {
          const share = one.keys?.some((key) => other.keys?.includes(key)) ?? false;
          const conflict = share && (one.effect === true || other.effect === true);
          expect(waits.includes(other.id)).toBe(earlier < later && conflict);
        }
      }
    }),
  );
});

test('what is carried along comes back as it was', () => {
  const state: RunState = {
    turn: 4,
    modelCalls: 5,
    toolCalls: 6,
    tokens: 7,
    costMicroUsd: 8,
    loop: { sig: 'x', count: 3 },
    unknownTools: 1,
    toolsUsed: ['a'],
  };
  const carry = toCarry(state, { activeMs: 9, badSignals: 10, paused: true, budgetUntil: 11 });
  expect(fromCarry(JSON.parse(JSON.stringify(carry)))).toEqual(state);
  expect(carry).toMatchObject({ activeMs: 9, badSignals: 10, paused: true, budgetUntil: 11 });
  expect(fromCarry(undefined)).toEqual(FIRST_STATE);
});

test('the same call is stuck the fifth time in a row, within a turn and across turns, denied or not', () => {
  const same = (n: number) => Array.from({ length: n }, () => ({ sig: 'same' }));
  expect(runLoop(FIRST_STATE.loop, same(STUCK_AFTER - 1))).toEqual({
    window: { sig: 'same', count: STUCK_AFTER - 1 },
    stuckAt: null,
  });
  expect(runLoop(FIRST_STATE.loop, same(STUCK_AFTER)).stuckAt).toBe(STUCK_AFTER - 1);
  expect(runLoop({ sig: 'same', count: STUCK_AFTER - 1 }, same(1)).stuckAt).toBe(0);
  expect(runLoop({ sig: 'same', count: STUCK_AFTER - 1 }, [{ sig: 'other' }, ...same(4)])).toEqual({
    window: { sig: 'same', count: 4 },
    stuckAt: null,
  });
  expect(STUCK_AFTER).toBe(5);
  const denied = call('1.0', { sig: 'same', verdict: 'deny', code: 'POLICY_DENIED' });
  const state = { ...FIRST_STATE, loop: { sig: 'same', count: 4 } };
  expect(afterThink(state, proposing(denied)).next).toEqual({ do: 'stop', reason: 'stuck' });
});

test('a tool the run does not have is answered once and ends the run the second time', () => {
  const first = afterThink(FIRST_STATE, proposing(unknown('1.0'), call('1.1')));
  expect(first.next).toMatchObject({ do: 'act', calls: [{ id: '1.1' }], thenStop: null });
  expect(afterThink(first.state, proposing(call('2.0'), unknown('2.1'))).next).toEqual({
    do: 'stop',
    reason: 'unknown_tool',
  });
  expect(UNKNOWN_TOOLS_ALLOWED).toBe(1);
});

test.each<[string, ThinkResult, object]>([
  ['final', { kind: 'final', tokens: 1, costMicroUsd: 2 }, { do: 'finish' }],
  [
    'nothing but denied calls',
    proposing(call('1.0', { verdict: 'deny', code: 'POLICY_DENIED' })),
    { do: 'act', calls: [] },
  ],
  [
    'a call past the limit, after those within it',
    proposing(call('1.0'), call('1.1', { verdict: 'deny', code: 'LIMIT_REACHED' })),
    { do: 'act', calls: [{ id: '1.0' }], thenStop: 'limit.tool_calls' },
  ],
  [
    'too many calls in one turn',
    proposing(call('1.0', { verdict: 'deny', code: 'TOO_MANY_CALLS' })),
    { do: 'act', thenStop: null },
  ],
  ['budget', { kind: 'budget', level: 'tenant_month', needMicroUsd: 3 }, { do: 'await_budget', level: 'tenant_month' }],
  ['a pause', { kind: 'paused' }, { do: 'await_resume' }],
  [
    'a stop',
    { kind: 'stop', reason: 'model.refusal', message: 'no', tokens: 1, costMicroUsd: 1 },
    { do: 'stop', reason: 'model.refusal', message: 'no' },
  ],
])('after %s', (_, result, next) => {
  expect(afterThink(FIRST_STATE, result).next).toMatchObject(next);
});

test('tool calls are counted as they are admitted, tools named once in the order of their first use', () => {
  const state = afterThink(
    FIRST_STATE,
    proposing(
      call('1.0', { tool: 'b' }),
      call('1.1', { tool: 'a', verdict: 'ask' }),
      call('1.2', { tool: 'b' }),
      call('1.3', { tool: 'c', verdict: 'deny' }),
    ),
  ).state;
  expect(state).toMatchObject({ toolCalls: 3, toolsUsed: ['b', 'a'] });
});

test.each([
  [{ modelCalls: 7 }, 'limit.model_calls'],
  [{ tokens: 1_000 }, 'limit.tokens'],
  [{ modelCalls: 6, tokens: 999 }, null],
])('with %j used the next turn is %s', (used, reason) => {
  const next = nextTurn({ ...FIRST_STATE, ...used }, limits);
  expect(next).toEqual(reason ? { do: 'stop', reason } : { do: 'think', turn: 1 });
});

test('a summary made for a turn counts as a model call of its own', () => {
  const result: ThinkResult = { kind: 'final', tokens: 30, costMicroUsd: 9, summaries: 1 };
  expect(afterThink(FIRST_STATE, result).state).toMatchObject({ turn: 1, modelCalls: 2, tokens: 30, costMicroUsd: 9 });
});
