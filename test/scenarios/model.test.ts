import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { DESK, OLGA, type TestStack, testStack } from '../support/stack.ts';

/** What a run does with what a model says: all of it, also what makes no sense; and its limits and its budget. */

let s: TestStack;

beforeAll(async () => {
  s = await testStack();
}, 120_000);

afterAll(() => s?.stop(), 60_000);

async function play(script: string, params: object = {}, options: Parameters<TestStack['applyAgent']>[0] = {}) {
  const run = await s.start(await s.applyAgent({ ...options, script }), `Go\nparams: ${JSON.stringify(params)}`);
  return s.closed(run.id);
}

async function toolResults(run: string): Promise<{ text: string; isError: boolean }[]> {
  const { steps } = await s.as(OLGA).runs.listSteps({ runId: run, pageSize: 200 });
  return steps.filter((step) => step.kind === 'tool_result').map((step) => JSON.parse(step.contentJson));
}

async function ledger(run: string): Promise<{ reserved: number; settled: number }> {
  const [row] = await s.query<{ reserved: number; settled: number }>(
    'select reserved_micro_usd as reserved, settled_micro_usd as settled from steward.ledger_accounts where id = $1',
    [`run/${run}`],
  );
  return row as { reserved: number; settled: number };
}

test('malformed tool JSON goes back to the model as a structured error and is never executed', async () => {
  const run = await play('malformed-json');
  const [answer] = await toolResults(run.id);
  expect(answer).toMatchObject({ isError: true });
  expect(JSON.parse(answer?.text ?? '')).toMatchObject({ error: { code: 'ARGUMENTS_INVALID' } });
  expect(run).toMatchObject({ status: RunStatus.COMPLETED, toolCalls: 0 });
});

test('arguments that do not fit the schema are named to the model and never executed', async () => {
  const run = await play('bad-arguments', { tool: 'get_task', args: { task_id: 7, extra: true } });
  const [answer] = await toolResults(run.id);
  expect(JSON.parse(answer?.text ?? '')).toMatchObject({ error: { code: 'ARGUMENTS_INVALID' } });
  expect(run).toMatchObject({ status: RunStatus.COMPLETED, toolCalls: 0 });
});

test('an unknown tool is answered as an error; the second time the run ends', async () => {
  const run = await play('unknown-tool');
  expect(run).toMatchObject({ status: RunStatus.FAILED, stopReason: 'unknown_tool', toolCalls: 0, turns: 2 });
  const [first] = await toolResults(run.id);
  expect(JSON.parse(first?.text ?? '')).toMatchObject({ error: { code: 'TOOL_UNKNOWN' } });
});

test('the same call five times in a row ends the run as stuck, before the fifth runs', async () => {
  const run = await play('stuck');
  expect(run).toMatchObject({ status: RunStatus.FAILED, stopReason: 'stuck' });
  const [row] = await s.query<{ n: number }>(
    "select count(*)::int as n from steward.agent_run_tool_invocations where run_id = $1 and state = 'done'",
    [run.id],
  );
  expect(row?.n).toBe(4);
});

test('a refusal ends the run with its own reason', async () => {
  expect(await play('refusal')).toMatchObject({ status: RunStatus.FAILED, stopReason: 'model.refusal' });
});

test('an answer with nothing in it, and a stream that breaks off, are paid for and tried again', async () => {
  for (const script of ['empty', 'cut-stream']) {
    const run = await play(script, { attempts: 1 });
    expect(run).toMatchObject({ status: RunStatus.COMPLETED, outcome: 'Here I am.' });
    const attempts = await s.query<{ state: string; settled: number }>(
      'select state, settled_micro_usd as settled from steward.agent_run_costs where run_id = $1 order by created_at',
      [run.id],
    );
    expect(attempts).toHaveLength(2);
    const total = attempts.reduce((sum, attempt) => sum + Number(attempt.settled), 0);
    expect(await ledger(run.id)).toEqual({ reserved: '0', settled: String(total) });
    expect(Number(attempts[0]?.settled)).toBeGreaterThan(0);
  }
});

test('Retry-After is honoured through Temporal, and a refused attempt costs nothing', async () => {
  const run = await s.start(
    await s.applyAgent({ script: 'rate-limited' }),
    'Go\nparams: {"attempts":1,"retryAfter":2}',
  );
  const failed = await s.until(run.id, (event) => event.kind === 'turn.failed');
  const again = await s.until(run.id, (event) => event.kind === 'turn.started' && event.sequence > failed.sequence);
  const waited = Number(again.time?.seconds) * 1_000 - Number(failed.time?.seconds) * 1_000;
  expect(waited).toBeGreaterThanOrEqual(1_000);
  expect(failed.data).toMatchObject({ code: 'MODEL_RATE_LIMITED', cost: 0 });
  expect((await s.closed(run.id)).status).toBe(RunStatus.COMPLETED);
});

test('an error that cannot succeed is not tried again', async () => {
  const run = await play('http-error', { status: 401, attempts: -1 });
  expect(run).toMatchObject({ status: RunStatus.FAILED, stopReason: 'model.error' });
  const attempts = await s.query('select 1 from steward.agent_run_costs where run_id = $1', [run.id]);
  expect(attempts).toHaveLength(1);
});

test('calls beyond ten in a turn are answered as errors, and the run goes on', async () => {
  const run = await play('many-calls', {
    tool: 'list_tasks_in_project',
    args: { project_id: 'apollo' },
    vary: 'page_size',
  });
  expect(run).toMatchObject({ status: RunStatus.COMPLETED, toolCalls: 10 });
  const refused = (await toolResults(run.id)).filter((result) => result.isError);
  expect(refused).toHaveLength(2);
  expect(JSON.parse(refused[0]?.text ?? '')).toMatchObject({ error: { code: 'TOO_MANY_CALLS' } });
});

test('each limit has its own stop reason and a warning before it', async () => {
  const calls = await play('long-loop', { turns: 9 }, { limits: { model_calls: 4 } });
  expect(calls).toMatchObject({ status: RunStatus.FAILED, stopReason: 'limit.model_calls', turns: 4 });
  const tools = await play('long-loop', { turns: 9 }, { limits: { tool_calls: 2 } });
  expect(tools).toMatchObject({ status: RunStatus.FAILED, stopReason: 'limit.tool_calls', toolCalls: 2 });
  const tokens = await play('long-loop', { turns: 9 }, { limits: { tokens: 3_000 } });
  expect(tokens).toMatchObject({ status: RunStatus.FAILED, stopReason: 'limit.tokens' });
  const warnings = await s.query<{ limit: string }>(
    "select data->>'limit' as limit from steward.agent_run_events where run_id = $1 and kind = 'limit.warning'",
    [calls.id],
  );
  expect(warnings).toEqual([{ limit: 'model_calls' }]);
});

test('a spent budget pauses the run; a raise lets it go on, once per request id', async () => {
  const run = await s.start(await s.applyAgent({ script: 'long-loop', budget: '$0.01' }), 'Go\nparams: {"turns":3}');
  const paused = await s.until(run.id, (event) => event.kind === 'budget.exhausted');
  expect(paused.data).toMatchObject({ level: 'run' });
  expect((await s.as(OLGA).runs.getRun({ runId: run.id })).run?.status).toBe(RunStatus.BUDGET_EXCEEDED);
  const requestId = randomUUID();
  for (let repeat = 0; repeat < 2; repeat += 1) {
    await s.as(OLGA).runs.raiseBudget({ runId: run.id, requestId, addMicroUsd: 300_000n, reason: 'needed' });
  }
  const end = await s.closed(run.id);
  expect(end).toMatchObject({ status: RunStatus.COMPLETED, cost: { budgetMicroUsd: 310_000n, reservedMicroUsd: 0n } });
});

test('a budget nobody raises ends the run at its expiry', async () => {
  const run = await play('echo', {}, { budget: '$0.001', waits: { budget: '1s' } });
  expect(run).toMatchObject({ status: RunStatus.BUDGET_EXCEEDED, stopReason: 'budget', cost: { settledMicroUsd: 0n } });
});

test('the model cannot widen what the request narrowed', async () => {
  const agent = await s.applyAgent();
  const turns = [[{ tool: 'create_task', args: { project_id: 'apollo', title: 'not mine to make' } }]];
  const run = await s.start(agent, `params: ${JSON.stringify({ turns, final: 'Done.' })}`, {
    narrowing: { tools: ['list_projects'] },
  });
  await s.closed(run.id);
  expect(JSON.parse((await toolResults(run.id))[0]?.text ?? '')).toMatchObject({ error: { code: 'TOOL_UNKNOWN' } });
  await expect(
    s
      .as(DESK)
      .runs.startRun({ requestId: randomUUID(), agent, input: 'x', narrowing: { budgetMicroUsd: 10_000_000n } }),
  ).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
});
