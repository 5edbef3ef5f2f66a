import { create } from '@bufbuild/protobuf';
import { expect, test } from '@jest/globals';
import { EffectSchema, UndoState, UndoStepSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import { type Look, PLAIN } from './look.ts';
import { isToUndo, plannedLines, stepLine } from './undo.ts';

const look: Look = { paint: PLAIN, width: 100, now: 0 };
const by = { approvedBy: 'policy', undoneBy: 'olga@acme.example' };
const done = {
  summary: 'delete task t_4',
  fields: [{ record: 'task/t_4', field: 'status', beforeJson: '"open"', afterJson: '' }],
  quantities: { 'rows.deleted': 1n },
};
const effect = (init: object) => create(EffectSchema, { tool: 'tool', undoable: true, certain: true, ...by, ...init });

test('a plan shows the last effect first, each change the other way round, and what is not part of it', () => {
  const effects = [
    effect({ callId: '1.0', undoState: UndoState.UNDONE }),
    effect({ callId: '2.0', tool: 'send_email', undoable: false }),
    effect({ callId: '3.0', certain: false, undoable: false }),
    effect({ callId: '4.0', undoState: UndoState.REFUSED }),
    effect({ callId: '5.0', tool: 'delete_task', change: done }),
  ];
  expect(effects.map(isToUndo)).toEqual([false, false, false, true, true]);
  expect(plannedLines(effects, look)).toEqual([
    '↶ 5.0 delete_task  was: delete task t_4',
    '  task/t_4',
    '    + status: "open"',
    '↶ 4.0 tool  its undo was refused, for olga@acme.example',
    '? 3.0 tool  look first: nobody knows whether it took place',
    '✗ 2.0 send_email  cannot be undone',
    '✓ 1.0 tool  undone for olga@acme.example',
  ]);
});

test('a step says what came of it, and nothing in it steers a terminal', () => {
  const step = (init: object) => stepLine(create(UndoStepSchema, { callId: '1.0', tool: 'tool', ...init }), look);
  expect(step({ state: UndoState.UNDONE, change: { summary: 'restore \u001b[2J' } })).toBe(
    '✓ 1.0 tool undone  restore ␛[2J',
  );
  expect(step({ state: UndoState.REFUSED, code: 'CHANGED_SINCE', message: 'Look at it.' })).toBe(
    '✗ 1.0 tool refused  CHANGED_SINCE: Look at it.',
  );
  expect(step({ state: UndoState.UNKNOWN, message: 'Ask again.' })).toBe(
    '! 1.0 tool UNKNOWN whether undone  Ask again.',
  );
  expect(step({ state: UndoState.PENDING })).toBe('… 1.0 tool pending');
});
