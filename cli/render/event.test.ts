import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { expect, test } from '@jest/globals';
import type { EventData, EventKind } from '#domain/events.ts';
import { ChangeSchema } from '#gen/steward/common/v1/change_pb.ts';
import { type RunEvent, RunEventSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import { renderEvent } from './event.ts';
import { type Look, PLAIN } from './look.ts';
import { displayWidth } from './text.ts';
import { firstState, nextState, type WatchState, wantsCall, withCall } from './watch-state.ts';

const START = Date.UTC(2026, 10, 20, 12, 0, 0);
const look: Look = { paint: PLAIN, width: 120, now: START, timeZone: 'UTC' };

interface At {
  readonly ms?: number;
  readonly turn?: number;
  readonly call?: string;
}

function event<K extends EventKind>(
  kind: K,
  data: EventData[K],
  { ms = 1_900, turn = 0, call = '' }: At = {},
): RunEvent {
  return create(RunEventSchema, {
    sequence: 1n,
    time: timestampFromMs(START + ms),
    kind,
    turn,
    callId: call,
    data: data as never,
  });
}

const state = firstState('r_1', look, { startedAt: START });

function line(one: RunEvent, from: WatchState = state): string {
  return renderEvent(one, nextState(from, one)).join('\n');
}

test('a line says when, at what cost so far, in which turn or call, and what', () => {
  const answered = event(
    'turn.answered',
    {
      model: 'm',
      cost: 3_100,
      spent: 15_400,
      text: 'Reading\nthe projects first.',
      calls: [
        { id: '1.0', tool: 'list_projects' },
        { id: '1.1', tool: 'list_tasks' },
        { id: '1.2', tool: 'list_tasks' },
      ],
    },
    { turn: 1 },
  );
  expect(line(answered)).toBe(
    '   1.9s   $0.0154  1     ◆ model  Reading the projects first. → list_projects, list_tasks ×2 (+$0.0031)',
  );
});

test('cost so far follows the journal and never falls', () => {
  const failed = event('turn.failed', { code: 'MODEL_OVERLOADED', message: 'Busy.', cost: 100, retrying: true });
  const spent = { ...state, spent: 500 };
  expect(nextState(spent, failed).spent).toBe(600);
  expect(nextState(spent, event('run.resumed', { by: 'olga' })).spent).toBe(500);
  const closed = event('run.closed', { status: 'failed', reason: 'stuck', message: 'Stuck.', cost: 700, outcome: '' });
  expect(nextState(spent, closed).spent).toBe(700);
});

test('elapsed time counts from the first event where nothing else is known', () => {
  const first = event('run.started', { model: 'm' }, { ms: 5_000 });
  const from = nextState(firstState('r_1', look), first);
  expect(renderEvent(first, from)[0]).toMatch(/^ {3}0\.0s /);
});

test('a tool call shows its arguments once they are known', () => {
  const started = event(
    'tool.started',
    { tool: 'update_task', catalog: 'projects', attempt: 2, approvedBy: 'olga@acme.example' },
    { turn: 2, call: '2.0' },
  );
  expect(wantsCall(started)).toBe(true);
  const known = withCall(state, { callId: '2.0', tool: 'update_task', argsJson: '{"task_id":"t_4"}' });
  expect(line(started, known)).toContain(
    '2.0   → update_task  attempt 2, task_id="t_4"  (approved by olga@acme.example)',
  );
  expect(line(started)).toContain('→ update_task');
});

test('an approval stands out: exact arguments, preview, why, until when, and the command that decides it', () => {
  const asked = event(
    'approval.asked',
    {
      approval: 'apr_1',
      tool: 'delete_task',
      tier: 3,
      why: ['risk.destructive: delete_task removes something'],
      digest: 'ab',
      expiresAt: START + 7 * 86_400_000,
      summary: 'delete task "Fix login"',
    },
    { turn: 3, call: '3.0', ms: 0 },
  );
  const preview = create(ChangeSchema, {
    summary: 'delete task "Fix login"',
    fields: [{ record: 'task/t_17', field: 'title', beforeJson: '"Fix login"' }],
  });
  const known = withCall(state, { callId: '3.0', tool: 'delete_task', argsJson: '{"task_id":"t_17"}', preview });
  expect(renderEvent(asked, nextState(known, asked))).toEqual([
    '   0.0s   $0.0000  3.0   ? delete_task NEEDS A DECISION  delete task "Fix login"',
    '            task_id: "t_17"',
    '            task/t_17',
    '              - title: "Fix login"',
    '            why     risk.destructive: delete_task removes something',
    '            decide  steward approval approve apr_1',
    '                    steward approval deny apr_1 --reason "…"',
    '            until   2026-11-27 12:00:00 (in 7d 0h)',
  ]);
});

test('waiting for budget says how to raise it, with an amount that a shell leaves alone', () => {
  const waiting = event('budget.exhausted', { level: 'run', need: 34_501, until: START + 86_400_000 });
  expect(line(waiting)).toContain('steward run raise-budget r_1 0.0346');
  const month = event('budget.exhausted', { level: 'tenant_month', need: 34_501, until: START + 86_400_000 });
  expect(line(month)).toContain('steward budget top-up --tenant 0.0346');
});

test('effects say whether they can be undone', () => {
  const change = { summary: 'task t_4 set to done', fields: [], quantities: {} };
  const done = (undoable: boolean, repeated: boolean): string =>
    line(event('tool.done', { tool: 'update_task', change, undoable, repeated }, { call: '2.0' }));
  expect(done(true, false)).toMatch(/✓ update_task {2}task t_4 set to done \(can be undone\)$/);
  expect(done(false, true)).toMatch(/\(cannot be undone\) \(was done before: receipt found\)$/);
  expect(line(event('tool.done', { tool: 'list', change: null, undoable: false, repeated: false }))).toMatch(/✓ list$/);
});

test('messages are shown as they come, as they are read, and where nobody has read them', () => {
  const come = line(event('message.received', { message: 2, by: 'ann@acme', text: 'Only the blue ones.' }));
  expect(come).toContain('▸ message 2  from ann@acme: Only the blue ones.');
  const read = line(event('turn.started', { model: 'm', attempt: 1, reserved: 5, messages: [1, 2] }));
  expect(read).toContain('reads message 1, 2, ');
  const end = { status: 'cancelled', reason: 'cancelled', message: '', cost: 0, outcome: '' } as const;
  const unread = event('run.closed', { ...end, unread: [{ message: 3, by: 'ann@acme', text: 'Wait!' }] });
  expect(renderEvent(unread, state)).toHaveLength(2);
  expect(renderEvent(unread, state)[1]).toContain('never read: message 3 from ann@acme: Wait!');
});

test('a switch of models says from which to which, why, and what it was not sent', () => {
  const data = { from: 'claude-a', to: 'gpt-b', why: 'errors', errors: 4, thinkingDropped: 2 };
  expect(line(event('model.switched', data, { turn: 2 }))).toContain(
    '! model switched  to gpt-b, from claude-a, which failed too often',
  );
  const back = { from: 'gpt-b', to: 'claude-a', why: 'recovered', errors: 0, thinkingDropped: 0 };
  expect(line(event('model.switched', back, { turn: 3 }))).toMatch(/to claude-a, from gpt-b, the fallback$/);
});

test('every kind has a line that fits the terminal and obeys nothing in the data', () => {
  const evil = '\u001b[2J\u202Eevil\nline '.repeat(20);
  const all: { readonly [K in EventKind]: EventData[K] } = {
    'run.created': { agent: evil, agentHash: 'ab', actingUser: evil, startedBy: 'svc' },
    'run.queued': { reason: evil, until: START },
    'run.started': { model: evil },
    'run.cancelling': { by: evil, reason: evil },
    'run.paused': { by: evil, reason: evil, until: START },
    'run.anomaly': { kinds: ['calls'], what: [evil] },
    'run.resumed': { by: evil },
    'message.received': { message: 1, by: evil, text: evil },
    'turn.started': { model: evil, attempt: 2, reserved: 5, messages: [1, 2] },
    'context.shortened': { how: 'summary', through: 7, model: evil, cost: 1, spent: 1 },
    'model.switched': { from: evil, to: evil, why: 'errors', errors: 4, thinkingDropped: 2 },
    'turn.answered': { model: evil, cost: 1, spent: 1, text: evil, calls: [{ id: '1.0', tool: evil }] },
    'turn.failed': { code: 'X', message: evil, cost: 1, retrying: false },
    'limit.warning': { limit: 'active_time', used: 1, of: 2 },
    'budget.alarm': { alarm: 'runaway', step: 10, settled: 5, typical: 1 },
    'turn.throttled': { calls: 90, p99: 3, until: START },
    'budget.exhausted': { level: 'tenant_month', need: 1, until: START },
    'budget.raised': { by: evil, add: 1, limit: 2, reason: evil },
    'tool.denied': { tool: 'x', code: 'POLICY_DENIED', reason: evil },
    'approval.asked': { approval: 'a', tool: 'x', tier: 3, why: [evil], digest: 'd', expiresAt: START, summary: evil },
    'approval.decided': { approval: 'a', answer: 'deny', by: evil, reason: evil },
    'approval.expired': { approval: evil },
    'approval.refused': { approval: evil, code: 'DECISION_FORGED' },
    'tool.started': { tool: 'x', catalog: 'c', attempt: 1, approvedBy: evil },
    'tool.done': { tool: 'x', change: { summary: evil, fields: [], quantities: {} }, undoable: true, repeated: true },
    'tool.refused': { tool: 'x', code: 'X', message: evil },
    'tool.failed': { tool: 'x', code: 'X', message: evil },
    'tool.outcome_unknown': { tool: 'x', message: evil },
    'run.closed': { status: 'completed', reason: null, message: evil, cost: 1, outcome: evil },
    'undo.requested': { undo: 'u', by: evil, reason: evil, calls: 2 },
    'undo.done': { undo: 'u', tool: 'x', change: { summary: evil, fields: [], quantities: {} }, repeated: true },
    'undo.refused': { undo: 'u', tool: 'x', code: 'CHANGED_SINCE', message: evil },
    'undo.unknown': { undo: 'u', tool: 'x', message: evil },
  };
  const from = withCall(state, { callId: '1.0', tool: 'x', argsJson: JSON.stringify({ a: evil }) });
  for (const [kind, data] of Object.entries(all)) {
    const one = event(kind as EventKind, data as never, { call: '1.0', turn: 1 });
    const lines = renderEvent(one, nextState(from, one));
    for (const text of lines) {
      expect(text).not.toMatch(/\p{Cc}|\u202E/u);
      expect(displayWidth(text)).toBeLessThanOrEqual(120);
    }
    if (kind !== 'approval.asked' && kind !== 'budget.exhausted') expect(lines).toHaveLength(1);
  }
});

test('a kind or data that this version does not know is shown, not lost', () => {
  const one = create(RunEventSchema, { time: timestampFromMs(START), kind: 'run.moved', data: { to: 'b' } });
  expect(line(one)).toContain('· run.moved  {"to":"b"}');
  const broken = create(RunEventSchema, { kind: 'turn.answered', data: { calls: 'none', spent: 'much' } });
  expect(renderEvent(broken, nextState(state, broken))[0]).toContain('◆ model');
});
