import { create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { expect, test } from '@jest/globals';
import { RUN_STATUSES } from '#domain/run.ts';
import { AgentVersionSchema } from '#gen/steward/admin/v1/admin_service_pb.ts';
import {
  RunSchema,
  RunStatus,
  StepSchema,
  TextDeltaSchema,
  ToolCallSchema,
} from '#gen/steward/run/v1/run_service_pb.ts';
import { agentLines, agentTable } from './agent.ts';
import { callLines, stepLine } from './call.ts';
import { DeltaWriter } from './deltas.ts';
import { type Look, PLAIN } from './look.ts';
import { runLines, runTable } from './run.ts';
import { parseApprovalState, parseStatus, STATUS_NAMES, statusName } from './status.ts';

const NOW = Date.UTC(2026, 10, 20, 12, 0, 0);
const look: Look = { paint: PLAIN, width: 80, now: NOW, timeZone: 'UTC' };

const run = create(RunSchema, {
  id: 'r_1',
  agent: 'close-out',
  agentHash: 'ab'.repeat(32),
  actingUser: 'olga@acme.example',
  startedBy: 'svc',
  input: 'Close out\n\u001b[31mApollo',
  labels: { release: 'apollo' },
  status: RunStatus.AWAITING_APPROVAL,
  cost: { budgetMicroUsd: 500_000n, settledMicroUsd: 3_100n, reservedMicroUsd: 34_500n },
  turns: 1,
  toolCalls: 2,
  createdAt: timestampFromMs(NOW - 90_000),
  openApprovals: ['apr_1'],
});

test('a run in detail', () => {
  const lines = runLines(run, look);
  expect(lines).toContain('  Status      awaiting_approval');
  expect(lines).toContain('  Input       Close out');
  expect(lines).toContain('              ␛[31mApollo');
  expect(lines).toContain('  Cost        $0.0031 of $0.5000, $0.0345 reserved');
  expect(lines).toContain('  Work        1 turn, 2 tool calls, 1m 30s');
  expect(lines).toContain('  Waits for   approval apr_1');
});

test('runs as a table', () => {
  const lines = runTable([run], look);
  expect(lines[1]).toMatch(/^r_1 {2}awaiting_approval {2}close-o… /);
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
});

test('statuses have the names of the domain, both ways', () => {
  expect(STATUS_NAMES).toEqual([...RUN_STATUSES]);
  for (const name of RUN_STATUSES) expect(statusName(parseStatus(name) ?? 0)).toBe(name);
  expect(parseStatus('Awaiting-Approval')).toBe(RunStatus.AWAITING_APPROVAL);
  expect(parseStatus('unspecified')).toBeNull();
  expect(statusName(99 as RunStatus)).toBe('status 99');
  expect(parseApprovalState('OPEN')).toBe(1);
  expect(parseApprovalState('unspecified')).toBeNull();
});

test('a call whole', () => {
  const call = create(ToolCallSchema, {
    callId: '2.0',
    runId: 'r_1',
    tool: 'update_task',
    catalog: 'projects',
    argsJson: '{"task_id":"t_4"}',
    state: 'failed',
    verdict: 'allow',
    errorCode: 'CATALOG_UNAVAILABLE',
    errorMessage: 'It is\ndown.',
    resultJson: '{"ok":false}',
    costMicroUsd: 1_200n,
  });
  const lines = callLines(call, look);
  expect(lines[0]).toBe('Call 2.0  failed');
  expect(lines).toContain('  Error    CATALOG_UNAVAILABLE: It is down.');
  expect(lines).toContain('  Cost     $0.0012, its share of the turn');
  expect(lines.slice(-4)).toEqual(['  Arguments', '    task_id: "t_4"', '  Result', '    ok: false']);
});

test('a step on one line', () => {
  const step = create(StepSchema, {
    number: 3,
    kind: 'tool_result',
    turn: 1,
    callId: '1.0',
    time: timestampFromMs(NOW),
    contentJson: `{"a":"${'x'.repeat(200)}\u202E"}`,
  });
  expect(stepLine(step, look)).toMatch(/^ {3}3 {2}12:00:00 {2}1\.0 {4}tool_result {14}\{"a":"x+…$/);
  expect(stepLine(step, look)).toHaveLength(80);
});

test('agents', () => {
  const agent = create(AgentVersionSchema, {
    name: 'a',
    hash: 'ab'.repeat(32),
    model: 'm',
    tools: ['x', 'y'],
    current: true,
  });
  expect(agentTable([agent], look)[1]).toMatch(/^a {6}abababababab {2}m {10}2$/);
  expect(agentLines(agent, look)).toContain('  Tools    x, y');
  expect(agentLines({ ...agent, current: false }, look)[0]).toBe('Agent a  not current');
});

test("the model's words come indented, a new attempt starts over", () => {
  const writer = new DeltaWriter({ ...look, width: 40 });
  const delta = (attempt: number, text: string) => create(TextDeltaSchema, { turn: 1, attempt, text });
  expect(writer.write(delta(1, 'Hello \u001b[2J'))).toBe('            Hello ␛[2J');
  expect(writer.write(delta(1, 'a\nb'))).toBe('a\n            b');
  expect(writer.write(delta(2, 'Hi'))).toBe('\n            (attempt 2: starts over)\n            Hi');
  expect(writer.write(delta(2, ` ${'word '.repeat(8)}`))).toMatch(/^ (word ){5}\n {12}(word ){3}$/);
  expect(writer.end()).toBe('\n');
  expect(writer.end()).toBe('');
});
