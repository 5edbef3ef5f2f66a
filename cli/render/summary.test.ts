import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { expect, test } from '@jest/globals';
import { EffectSchema, RunSchema, RunStatus, ToolCallSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import { type Look, PLAIN } from './look.ts';
import { renderSummary } from './summary.ts';

const look: Look = { paint: PLAIN, width: 100, now: 0 };

const run = create(RunSchema, {
  id: 'r_1',
  status: RunStatus.COMPLETED,
  outcome: 'Apollo is closed.\nThe client knows.',
  turns: 6,
  toolCalls: 14,
  createdAt: timestampFromMs(1_000),
  closedAt: timestampFromMs(43_100),
  cost: { budgetMicroUsd: 500_000n, settledMicroUsd: 21_300n, inputTokens: 12_345n, outputTokens: 2_345n },
  temporalUi: 'http://127.0.0.1:8233/x',
});

const done = {
  summary: 'task t_4 set to done',
  fields: [{ record: 'task/t_4', field: 'status', beforeJson: '"open"', afterJson: '"done"' }],
};

const effects = [
  { callId: '2.0', tool: 'update_task', change: done, undoable: true, approvedBy: 'policy', certain: true },
  { callId: '2.1', tool: 'update_task', change: done, undoable: true, approvedBy: 'policy', certain: true },
  { callId: '3.0', tool: 'send_email', undoable: false, approvedBy: 'olga@acme.example', certain: false },
].map((init) => create(EffectSchema, init));

const calls = [
  create(ToolCallSchema, { callId: '2.0' }),
  create(ToolCallSchema, { callId: '3.0', decisionReason: 'go\u202E on' }),
];

test('the four answers: who approved, what changed, how to undo it, what it cost', () => {
  expect(renderSummary(run, effects, calls, look, 'steward')).toEqual([
    'Run r_1 completed after 42s: 6 turns, 14 tool calls',
    '',
    '  │ Apollo is closed.',
    '  │ The client knows.',
    '',
    'Who approved it',
    '  policy  update_task ×2',
    '  olga@acme.example',
    '    3.0 send_email: “go<U+202E> on”',
    '',
    'What changed',
    '  2.0 update_task  task t_4 set to done',
    '    task/t_4',
    '      - status: "open"',
    '      + status: "done"',
    '  2.1 update_task  task t_4 set to done',
    '    task/t_4',
    '      - status: "open"',
    '      + status: "done"',
    '  3.0 send_email  OUTCOME UNKNOWN: look whether it took place',
    '',
    'How to undo it',
    '  steward run undo r_1',
    '  ? 3.0 send_email  look first: nobody knows whether it took place',
    '  ↶ 2.1 update_task',
    '  ↶ 2.0 update_task',
    '',
    'What it cost',
    '  $0.0213 of $0.5000',
    '  input 12,345, output 2,345 tokens',
    '',
    'Temporal  http://127.0.0.1:8233/x',
  ]);
});

test('a run without effects says so', () => {
  const lines = renderSummary(
    create(RunSchema, { id: 'r_2', status: RunStatus.CANCELLED, stopReason: 'stuck' }),
    [],
    [],
    look,
  );
  expect(lines[0]).toBe('Run r_2 cancelled (stuck): 0 turns, 0 tool calls');
  expect(lines).toContain('  nothing was changed, so nothing was approved');
  expect(lines).toContain('  nothing to undo');
});
