import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { stewardErrorOf } from '../support/errors.ts';
import { DESK, OLGA, type TestStack, testStack } from '../support/stack.ts';

/** What is said to a run while it runs, and what goes on from where another run has ended. */

let s: TestStack;

beforeAll(async () => {
  s = await testStack();
}, 120_000);

afterAll(() => s?.stop(), 60_000);

const plan = (turns: unknown) => `params: ${JSON.stringify({ turns, final: 'Done.' })}`;
const say = (run: string, text: string) => s.as(DESK).runs.sendMessage({ runId: run, requestId: randomUUID(), text });

async function steps(run: string) {
  const { steps: all } = await s.as(OLGA).runs.listSteps({ runId: run, pageSize: 200 });
  return all.map((step) => ({ kind: step.kind, turn: step.turn, content: JSON.parse(step.contentJson) }));
}

test('a message decides nothing: the run waits on for its approval, and reads it before the next turn', async () => {
  const remove = { tool: 'delete_task', args: { task_id: 'apl-104' } };
  const run = await s.start(await s.applyAgent(), plan([[remove], [{ tool: 'list_projects', args: {} }]]));
  await s.until(run.id, (event) => event.kind === 'approval.asked');
  expect((await say(run.id, 'I approve. Delete it, and take budget: $500.')).run).toMatchObject({
    status: RunStatus.AWAITING_APPROVAL,
    cost: { budgetMicroUsd: 500_000n },
  });
  await s.decide(run.id, 'deny');
  const read = await s.until(run.id, (event) => event.kind === 'turn.started' && event.turn === 2);
  expect(read.data).toMatchObject({ messages: [1] });
  expect(await s.closed(run.id)).toMatchObject({ status: RunStatus.COMPLETED, turns: 3 });
  expect((await steps(run.id)).slice(1, 5)).toMatchObject([
    { kind: 'model_message', turn: 1 },
    { kind: 'tool_result', turn: 1, content: { isError: true } },
    { kind: 'user_message', turn: 2, content: { message: 1 } },
    { kind: 'model_message', turn: 2 },
  ]);
}, 60_000);

test('a run that is answering for the last time reads what it is told meanwhile before it ends', async () => {
  const agent = await s.applyAgent({ script: 'slow-stream' });
  const run = await s.start(agent, `Go\nparams: ${JSON.stringify({ pieces: 20, everyMs: 100 })}`);
  await s.until(run.id, (event) => event.kind === 'turn.started');
  await say(run.id, 'One more thing.');
  expect(await s.closed(run.id)).toMatchObject({ status: RunStatus.COMPLETED, turns: 2 });
  expect((await steps(run.id)).map((step) => step.kind)).toEqual([
    'user_message',
    'model_message',
    'user_message',
    'model_message',
  ]);
  const late = await stewardErrorOf(say(run.id, 'And another.'));
  expect(late).toMatchObject({ code: 'WRONG_STATE', message: expect.stringContaining('is closed: completed') });
}, 60_000);

test('a run that is cancelled before it has read what it was told says so at its end', async () => {
  const remove = { tool: 'delete_task', args: { task_id: 'apl-104' } };
  const run = await s.start(await s.applyAgent(), plan([[remove]]));
  await s.until(run.id, (event) => event.kind === 'approval.asked');
  await say(run.id, 'Never mind.');
  await s.as(OLGA).runs.cancelRun({ runId: run.id, requestId: randomUUID(), reason: 'test' });
  const end = await s.until(run.id, (event) => event.kind === 'run.closed');
  expect(end.data).toMatchObject({ status: 'cancelled', unread: [{ message: 1, text: 'Never mind.' }] });
}, 60_000);

test('a run goes on with the conversation of one that has ended, also where that was stopped in the middle', async () => {
  const remove = { tool: 'delete_task', args: { task_id: 'apl-104' } };
  const agent = await s.applyAgent();
  const read = { tool: 'list_projects', args: {} };
  const thinking = 'I should look first.';
  const first = await s.start(agent, `params: ${JSON.stringify({ turns: [[read], [remove], [], [read]], thinking })}`);
  await s.until(first.id, (event) => event.kind === 'approval.asked');
  await s.as(OLGA).runs.cancelRun({ runId: first.id, requestId: randomUUID(), reason: 'test' });
  await s.closed(first.id);
  const before = await steps(first.id);
  // The script counts the turns of the whole conversation: it ends where the plan does.
  const second = await s.start(agent, 'Go on.', { continues: first.id });
  expect(await s.closed(second.id)).toMatchObject({ status: RunStatus.COMPLETED, turns: 1, continues: first.id });
  // Fewer tools stand before the conversation now: thinking written behind more of them is not sent back.
  const third = await s.start(agent, 'And on.', { continues: second.id, narrowing: { tools: ['list_projects'] } });
  expect(await s.closed(third.id)).toMatchObject({ status: RunStatus.COMPLETED, turns: 2, toolCalls: 1 });
  expect(await steps(first.id)).toEqual(before);
  const calls = await s.query<{ key: string }>(
    'select key from steward.agent_run_tool_invocations where run_id = $1 order by key',
    [third.id],
  );
  expect(calls.map((call) => call.key)).toEqual([`${third.id}/1.0`]);
}, 60_000);
