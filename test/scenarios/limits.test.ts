import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { BEN, OLGA, type TestStack, testStack } from '#test/support/stack.ts';

let s: TestStack;

beforeAll(async () => {
  s = await testStack();
}, 180_000);
afterAll(() => s?.stop(), 60_000);

async function come<T>(what: string, look: () => Promise<T | undefined>, ms = 60_000): Promise<T> {
  for (const end = Date.now() + ms; Date.now() < end; await sleep(10)) {
    const found = await look();
    if (found !== undefined) return found;
  }
  throw new Error(`${what} did not come within ${ms} ms`);
}

const asked = (run: string) =>
  come(`an approval of run ${run}`, async () => {
    const { approvals } = await s.as(BEN).approvals.listApprovals({ runId: run });
    return approvals[0];
  });

async function rowOf(run: string): Promise<{ status: string; closed: boolean; admitted: boolean }> {
  const [row] = await s.query<{ status: string; closed: boolean; admitted: boolean }>(
    `select status, closed_at is not null as closed, admitted_at is not null as admitted
     from steward.agent_runs where id = $1`,
    [run],
  );
  if (!row) throw new Error(`no run ${run}`);
  return row;
}

async function kill(name: 'run-api' | 'worker'): Promise<void> {
  const { pid, exited } = s.stack.service(name);
  process.kill(pid, 'SIGKILL');
  await exited;
}

test('queued runs start in order as slots get free, though run-api is gone and the worker is killed at that moment', async () => {
  const agent = await s.applyAgent({});
  await s.as(OLGA).admin.updateTenant({ maxConcurrentRuns: 1 });
  const tasks = ['queue-a', 'queue-b', 'queue-c'];
  const runs: string[] = [];
  for (const task of tasks) {
    await s.query(
      `insert into projects.tasks (tenant, id, project_id, title, status) values ('acme', $1, 'apollo', $1, 'open')`,
      [task],
    );
    const input = `params: ${JSON.stringify({ turns: [[{ tool: 'delete_task', args: { task_id: task } }]] })}`;
    const run = await s.start(agent, input);
    expect(run.status).toBe(runs.length === 0 ? RunStatus.PENDING : RunStatus.QUEUED);
    if (runs.length > 0) expect(run.stopReason).toBe('all 1 slots of the tenant are taken');
    runs.push(run.id);
  }
  const [a = '', b = '', c = ''] = runs;

  await asked(a);
  await kill('run-api');
  await s.decide(a, 'approve');
  await come('the end of the first run', async () => ((await rowOf(a)).closed ? true : undefined));
  await kill('worker');
  await s.stack.restart('worker');

  await asked(b);
  expect(await rowOf(a)).toMatchObject({ status: 'completed' });
  expect(await rowOf(c)).toEqual({ status: 'queued', closed: false, admitted: false });

  await s.stack.restart('run-api');
  expect((await s.as(OLGA).runs.getRun({ runId: b })).run?.status).toBe(RunStatus.AWAITING_APPROVAL);
  // A queued run that is cancelled takes no slot with it.
  await s.as(OLGA).runs.cancelRun({ runId: c, requestId: 'cancel-c', reason: 'not needed' });
  await s.decide(b, 'approve');
  expect(await s.closed(b)).toMatchObject({ status: RunStatus.COMPLETED });
  expect(await s.closed(c)).toMatchObject({ status: RunStatus.CANCELLED });
  const left = await s.query("select id from projects.tasks where id like 'queue-%' and deleted_at is null");
  expect(left).toEqual([{ id: 'queue-c' }]);
}, 240_000);

test('a call beyond a limit is refused with what is left, and its run goes on', async () => {
  const agent = await s.applyAgent({});
  await s.as(OLGA).limits.setLimit({ quantity: 'rows.deleted', scope: 'user-hour', amount: 0n });
  await s.query(
    `insert into projects.tasks (tenant, id, project_id, title, status) values ('acme', 'kept', 'apollo', 'kept', 'open')`,
  );
  const turns = [
    [{ tool: 'delete_task', args: { task_id: 'kept' } }],
    [{ tool: 'update_task_status', args: { task_id: 'kept', status: 'done' } }],
  ];
  const { id } = await s.start(agent, `params: ${JSON.stringify({ turns })}`);
  const denied = await s.until(id, (event) => event.kind === 'tool.denied');
  expect(denied.data).toMatchObject({ tool: 'delete_task', code: 'QUANTITY_LIMIT' });
  expect(await s.closed(id)).toMatchObject({ status: RunStatus.COMPLETED, stopReason: '' });
  const [row] = await s.query("select status, deleted_at from projects.tasks where id = 'kept'");
  expect(row).toEqual({ status: 'done', deleted_at: null });
}, 120_000);
