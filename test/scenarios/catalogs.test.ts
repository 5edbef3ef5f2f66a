import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { ToolCatalog } from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import { GuardService } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { connect } from '#platform/grpc/client.ts';
import { BEN, OLGA, type TestStack, testStack } from '../support/stack.ts';

/** What a run does when a catalog is down, slow, too late, or answers with rubbish. */

let s: TestStack;
let rogue: string;

beforeAll(async () => {
  s = await testStack({ entries: { messaging: 'test/support/rogue-catalog.ts' } });
  rogue = await s.applyAgent({
    tools: '\n  messaging: [rogue_read, rogue_write]\n  projects: [create_task, list_projects]',
  });
}, 120_000);

afterAll(() => s?.stop(), 60_000);

const plan = (...turns: { tool: string; args: object }[][]) => `params: ${JSON.stringify({ turns, final: 'Done.' })}`;
const write = (mode: string) => ({ tool: 'rogue_write', args: { mode } });

async function call(run: string, callId: string) {
  const { call } = await s.as(OLGA).runs.getToolCall({ runId: run, callId });
  if (!call) throw new Error('no call');
  return call;
}

test('a handler that ends after its deadline is settled by a tombstone, and its effect never counts', async () => {
  const run = await s.start(rogue, plan([write('late')]));
  const end = await s.closed(run.id);
  expect(end.outcome).toBe('Done.');
  const late = await call(run.id, '1.0');
  expect(late).toMatchObject({ state: 'failed', errorCode: 'DEADLINE' });
  expect(late.errorMessage).toContain('did not take place');
  // The next effect is the first one: the late handler saw the tombstone.
  const next = await s.start(rogue, plan([write('fine')]));
  await s.closed(next.id);
  expect(JSON.parse((await call(next.id, '1.0')).resultJson)).toEqual({ effects: 1 });
});

test.each(['garbage', 'nothing', 'huge'])('an answer that is %s is settled and told as a failure', async (mode) => {
  const run = await s.start(rogue, plan([write(mode)]));
  await s.closed(run.id);
  const broken = await call(run.id, '1.0');
  // 50 MB may also take longer than the tool has.
  expect(broken).toMatchObject({ state: 'failed', resultJson: '' });
  expect(['CATALOG_BROKEN', 'DEADLINE']).toContain(broken.errorCode);
});

test('a catalog that is down is waited for, and the call then takes effect once', async () => {
  const before = s.stack.service('projects');
  process.kill(before.pid, 'SIGKILL');
  await before.exited;
  const create = { tool: 'create_task', args: { project_id: 'apollo', title: 'while it was down' } };
  const run = await s.start(rogue, plan([create]));
  await s.until(run.id, (event) => event.kind === 'turn.answered');
  await s.stack.restart('projects');
  const end = await s.closed(run.id);
  expect(end.toolCalls).toBe(1);
  const rows = await s.query('select id from projects.tasks where title = $1', ['while it was down']);
  expect(rows).toHaveLength(1);
});

test('a guard that is down is waited for: nothing is allowed meanwhile, nothing is lost', async () => {
  const before = s.stack.service('guard');
  process.kill(before.pid, 'SIGKILL');
  await before.exited;
  const create = { tool: 'create_task', args: { project_id: 'apollo', title: 'guard was down' } };
  const run = await s.start(rogue, plan([create]));
  await s.until(run.id, (event) => event.kind === 'turn.answered');
  expect(await s.query('select id from projects.tasks where title = $1', ['guard was down'])).toHaveLength(0);
  await s.stack.restart('guard');
  await s.closed(run.id);
  expect(await s.query('select id from projects.tasks where title = $1', ['guard was down'])).toHaveLength(1);
  // The model was asked once per turn: its answer was stored before the guard was.
  const { steps } = await s.as(OLGA).runs.listSteps({ runId: run.id });
  expect(steps.filter((step) => step.kind === 'model_message')).toHaveLength(2);
});

test('a database that is restarted in the middle of a run loses nothing', async () => {
  const turns = Array.from({ length: 8 }, (_, index) => [
    { tool: 'create_task', args: { project_id: 'apollo', title: `restart ${index}` } },
  ]);
  const run = await s.start(rogue, plan(...turns));
  await s.until(run.id, (event) => event.kind === 'tool.done');
  await s.stack.restartServer('postgres');
  const end = await s.closed(run.id, 90_000);
  expect(end).toMatchObject({ outcome: 'Done.', toolCalls: 8 });
  const rows = await s.query<{ title: string }>("select title from projects.tasks where title like 'restart %'");
  expect(rows.map((row) => row.title).sort()).toEqual(turns.map((_, index) => `restart ${index}`));
});

test('somebody without the role may not call a catalog', async () => {
  const open = connect(ToolCatalog, { address: s.stack.addresses.projects, token: () => s.token(BEN) });
  try {
    await expect(open.client.describeTools({})).rejects.toMatchObject({ code: 'TOKEN_WRONG_AUDIENCE' });
  } finally {
    open.close();
  }
});

test('what a catalog is shown opens neither the guard nor another catalog', async () => {
  const shown = () => readFile(join(s.stack.secrets.catalogTokenDirectory, 'messaging.token'), 'utf8');
  const guard = connect(GuardService, { address: s.stack.environment.guard, token: shown });
  const projects = connect(ToolCatalog, { address: s.stack.addresses.projects, token: shown });
  const own = connect(ToolCatalog, { address: s.stack.addresses.messaging, token: shown });
  try {
    await expect(guard.client.judge({ turn: 1 })).rejects.toMatchObject({ code: 'TOKEN_WRONG_AUDIENCE' });
    await expect(projects.client.describeTools({})).rejects.toMatchObject({ code: 'TOKEN_WRONG_AUDIENCE' });
    expect((await own.client.describeTools({})).catalog).toBe('messaging');
  } finally {
    for (const connection of [guard, projects, own]) connection.close();
  }
});
