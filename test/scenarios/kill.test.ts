import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { type CliResult, runCli } from '#test/support/cli.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { OLGA, type TestStack, testStack } from '#test/support/stack.ts';

let s: TestStack;
let folder: string;
let env: Record<string, string>;

beforeAll(async () => {
  s = await testStack();
  folder = await mkdtemp(join(tmpdir(), 'steward-kill-'));
  await writeFile(join(folder, 'token'), await s.token(OLGA));
  env = {
    STEWARD_ADDRESS: s.stack.environment.runApi,
    STEWARD_GUARD_ADDRESS: s.stack.environment.guard,
    STEWARD_TOKEN_FILE: join(folder, 'token'),
  };
}, 180_000);
afterAll(async () => {
  await s?.stop();
  await rm(folder, { recursive: true, force: true });
}, 60_000);

const steward = (...args: string[]): Promise<CliResult> => runCli(args, { env, timeoutMs: 60_000 });
const input = (calls: readonly object[]) => `params: ${JSON.stringify({ turns: calls.map((call) => [call]) })}`;
const switchIn = (text: string): string => /switch ([\w-]{36})/.exec(text)?.[1] ?? '';

test('a drill kills its own runs alone, reports, and is in the audit log', async () => {
  const agent = await s.applyAgent({ script: 'slow-stream' });
  const other = await s.start(agent, 'params: {"pieces": 300}');
  const drilled = await steward('kill', '--drill', '--runs', '3');
  expect(drilled).toMatchObject({ code: 0, stderr: expect.not.stringContaining('steward:') });
  expect(drilled.stdout).toContain('3 runs killed');
  expect(drilled.stdout).toContain('runs       3 cancelled');
  expect(drilled.stdout).toContain('a new run of the scope was refused');
  expect((await s.as(OLGA).runs.getRun({ runId: other.id })).run?.closedAt).toBeUndefined();
  const log = await s.query<{ action: string; data: Record<string, unknown> }>(
    "select action, data from steward.audit_log where action like 'switch.%' order by id",
  );
  expect(log.map((row) => row.action)).toEqual(['switch.kill', 'switch.lift']);
  expect(log[1]?.data).toMatchObject({ drill: { runsCancelled: 3, callsUnconfirmed: 0 } });
  expect((await steward('kill', 'list')).stdout).toContain('No switch stands.');
  expect((await steward('kill', 'list', '--all')).stdout).toContain('lifted, drill');
  await s.as(OLGA).runs.cancelRun({ runId: other.id, requestId: 'end-other', reason: '' });
}, 120_000);

test('a paused scope goes on once the switch is lifted with --resume; what was asked is void', async () => {
  const agent = await s.applyAgent({});
  const task = `kill-${crypto.randomUUID().slice(0, 8)}`;
  await s.query(
    `insert into projects.tasks (tenant, id, project_id, title, status) values ('acme', $1, 'apollo', $1, 'open')`,
    [task],
  );
  const ask = await s.start(agent, input([{ tool: 'delete_task', args: { task_id: task } }]));
  await s.until(ask.id, (event) => event.kind === 'approval.asked');
  const killed = await steward('kill', '--scope', 'agent', '--target', agent, '--pause', '--reason', 'odd');
  expect(killed).toMatchObject({ code: 0 });
  expect(killed.stdout).toContain('1 paused');
  expect(killed.stdout).toContain('approvals  1 void');
  expect(await stewardErrorOf(s.start(agent, 'script: echo'))).toMatchObject({ code: 'KILLED' });
  const resume = s.as(OLGA).runs.resumeRun({ runId: ask.id, requestId: 'resume-it' });
  expect(await stewardErrorOf(resume)).toMatchObject({ code: 'KILLED' });
  const lifted = await steward('unkill', switchIn(killed.stdout), '--reason', 'fine', '--resume');
  expect(lifted).toMatchObject({ code: 0, stdout: expect.stringContaining('1 paused runs go on') });
  expect(await s.closed(ask.id)).toMatchObject({ status: RunStatus.COMPLETED });
}, 120_000);

test('in safe mode a run reads on and its effects are refused', async () => {
  const agent = await s.applyAgent({});
  const on = await steward('safe-mode', 'on', '--reason', 'looking into it');
  expect(on).toMatchObject({ code: 0, stdout: expect.stringContaining('Safe mode is on') });
  const title = `safe ${crypto.randomUUID()}`;
  const { id } = await s.start(
    agent,
    input([
      { tool: 'list_projects', args: {} },
      { tool: 'create_task', args: { project_id: 'apollo', title } },
    ]),
  );
  await s.until(id, (event) => event.kind === 'tool.done');
  await s.until(id, (event) => event.kind === 'tool.denied' && JSON.stringify(event.data).includes('SAFE_MODE'));
  expect(await s.closed(id)).toMatchObject({ status: RunStatus.COMPLETED });
  expect((await steward('safe-mode', 'off', '--reason', 'over')).stdout).toContain('Safe mode is off');
  expect((await steward('safe-mode', 'off', '--reason', 'over')).stdout).toContain('Safe mode was off');
  expect(await s.query('select 1 from projects.tasks where title = $1', [title])).toEqual([]);
}, 120_000);

test('what is missing is asked for, and other tenants and the product are the platform’s', async () => {
  expect(await steward('kill', '--scope', 'tenant')).toMatchObject({ code: 2 });
  expect(await steward('kill', '--reason', 'x')).toMatchObject({ code: 2 });
  expect(await steward('kill', '--scope', 'agent', '--reason', 'x')).toMatchObject({ code: 2 });
  expect(await steward('kill', '--scope', 'product', '--reason', 'x')).toMatchObject({ code: 4 });
  expect(await steward('kill', '--scope', 'tenant', '--tenant', 'other', '--reason', 'x')).toMatchObject({ code: 4 });
  expect(await steward('unkill', 'no-such-switch', '--reason', 'x')).toMatchObject({ code: 3 });
}, 60_000);
