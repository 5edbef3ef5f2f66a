import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { workflowIdOf } from '#domain/ids.ts';
import { DECIDE_APPROVAL } from '#domain/run-workflow.ts';
import { Answer } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { type Run, RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { decisionSigner } from '#platform/identity/decisions.ts';
import { createKeyPair } from '#platform/identity/key-pair.ts';
import { BEN, OLGA, type TestStack, testStack } from '../support/stack.ts';

/** Decisions as people give them, and as attackers would; stops as operators give them. */

let s: TestStack;
let agent: string;

beforeAll(async () => {
  s = await testStack();
  agent = await s.applyAgent();
}, 120_000);

afterAll(() => s?.stop(), 60_000);

const input = (taskId: string) =>
  `params: ${JSON.stringify({ turns: [[{ tool: 'delete_task', args: { task_id: taskId } }]], final: 'Done.' })}`;

async function waiting(taskId: string, more = {}): Promise<{ run: Run; approvalId: string; digest: string }> {
  const run = await s.start(agent, input(taskId), more);
  const { data } = await s.until(run.id, (event) => event.kind === 'approval.asked');
  return { run, approvalId: String(data?.approval), digest: String(data?.digest) };
}

async function newTask(): Promise<string> {
  const id = `t-${randomUUID().slice(0, 8)}`;
  await s.query("select set_config('app.tenant', 'acme', false)");
  await s.query(
    "insert into projects.tasks (tenant, id, project_id, title, status) values ('acme', $1, 'apollo', 'to go', 'open')",
    [id],
  );
  return id;
}

const exists = async (id: string) =>
  (await s.query('select 1 from projects.tasks where id = $1 and deleted_at is null', [id])).length === 1;

const signal = (run: Run, payload: unknown) =>
  s.temporal.client.workflow.getHandle(workflowIdOf(run.id)).signal(DECIDE_APPROVAL, payload);

async function signed(approvalId: string, digest: string, who = BEN) {
  const decision = { approvalId, digest, answer: Answer.APPROVE, reason: 'signed' };
  const { signalJson } = await s.as(who).approvals.signDecision({ decision });
  return JSON.parse(signalJson) as { approvalId: string; digest: string; signed: string };
}

test('an approved call runs, with the decider beside its effect; a denied one never does', async () => {
  const [yes, no] = [await newTask(), await newTask()];
  const first = await waiting(yes);
  await s.decide(first.run.id, 'approve');
  await s.closed(first.run.id);
  expect(await exists(yes)).toBe(false);
  const { effects } = await s.as(OLGA).runs.getRun({ runId: first.run.id });
  expect(effects).toMatchObject([{ tool: 'delete_task', approvedBy: BEN.subject, undoable: true, certain: true }]);

  const second = await waiting(no);
  await s.decide(second.run.id, 'deny');
  const end = await s.closed(second.run.id);
  expect(end.status).toBe(RunStatus.COMPLETED);
  expect(await exists(no)).toBe(true);
});

test('a signed decision in the Temporal signal counts like one given to the guard', async () => {
  const task = await newTask();
  const { run, approvalId, digest } = await waiting(task);
  await signal(run, await signed(approvalId, digest));
  expect((await s.closed(run.id)).status).toBe(RunStatus.COMPLETED);
  expect(await exists(task)).toBe(false);
});

test('forged, edited, foreign and replayed decisions in signals decide nothing; the true one still does', async () => {
  const [task, other] = [await newTask(), await newTask()];
  const one = await waiting(task);
  const two = await waiting(other);
  const good = await signed(two.approvalId, two.digest);
  const stranger = await createKeyPair(s.paths.home, 'stranger');
  const claims = {
    tenant: 'acme',
    run: one.run.id,
    call: '1.0',
    approval: one.approvalId,
    digest: one.digest,
    answer: 'approve' as const,
    reason: '',
    roles: ['approver' as const],
  };
  const forged = await decisionSigner(stranger.privateJwk).sign({
    ...claims,
    decidedBy: BEN.subject,
    id: randomUUID(),
    expiresAt: new Date(Date.now() + 60_000),
  });
  const aim = { approvalId: one.approvalId, digest: one.digest };
  const [head, body, tail] = good.signed.split('.') as [string, string, string];
  const edited = JSON.parse(Buffer.from(body, 'base64url').toString('utf8')) as Record<string, unknown>;
  const editedBody = Buffer.from(JSON.stringify({ ...edited, run: one.run.id, approval: one.approvalId })).toString(
    'base64url',
  );
  for (const payload of [
    { ...aim, signed: forged },
    { ...aim, signed: `${head}.${editedBody}.${tail}` },
    // Genuine, and for another call.
    { ...aim, signed: good.signed },
    // Nothing stands behind it.
    aim,
    { ...aim, digest: '0'.repeat(64) },
    { approvalId: 'no-such', digest: one.digest },
    null,
    'approve',
    { ...aim, signed: 'x'.repeat(10_000) },
  ]) {
    await signal(one.run, payload);
  }
  // A message after all of them has been looked at: the run asks the guard in order.
  await s.until(one.run.id, (event) => event.kind === 'approval.refused');
  expect(await exists(task)).toBe(true);
  expect((await s.as(OLGA).runs.getRun({ runId: one.run.id })).run?.status).toBe(RunStatus.AWAITING_APPROVAL);

  await s.decide(one.run.id, 'approve');
  await s.closed(one.run.id);
  expect(await exists(task)).toBe(false);

  await signal(two.run, good);
  await s.closed(two.run.id);
  expect(await exists(other)).toBe(false);
});

test('of two racing decisions one counts, and the other hears who was first', async () => {
  const { run, approvalId, digest } = await waiting(await newTask());
  const answers = await Promise.allSettled(
    [BEN, OLGA].map((who) =>
      s.as(who).approvals.decide({
        requestId: randomUUID(),
        decision: { approvalId, digest, answer: Answer.APPROVE, reason: '' },
      }),
    ),
  );
  expect(answers.filter((answer) => answer.status === 'fulfilled')).toHaveLength(1);
  const lost = answers.find((answer) => answer.status === 'rejected');
  expect(lost).toMatchObject({ reason: { code: 'ALREADY_DECIDED' } });
  await s.closed(run.id);
});

test('DecideAndWait says that the run has taken the answer over', async () => {
  const { run, approvalId, digest } = await waiting(await newTask());
  const answer = await s.as(BEN).approvals.decideAndWait({
    requestId: randomUUID(),
    decision: { approvalId, digest, answer: Answer.APPROVE, reason: '' },
  });
  expect(answer.applied).toBe(true);
  await s.closed(run.id);
});

test('an approval nobody answers expires, the model is told, and a late decision is refused', async () => {
  const task = await newTask();
  const short = await s.applyAgent({ waits: { approval: '1s' } });
  const run = await s.start(short, input(task));
  const { data } = await s.until(run.id, (event) => event.kind === 'approval.asked');
  expect((await s.closed(run.id)).status).toBe(RunStatus.COMPLETED);
  expect(await exists(task)).toBe(true);
  const decision = { approvalId: String(data?.approval), digest: String(data?.digest), answer: Answer.APPROVE };
  await expect(s.as(BEN).approvals.decide({ requestId: randomUUID(), decision })).rejects.toMatchObject({
    code: 'APPROVAL_EXPIRED',
  });
});

test('cancel while waiting, and again: the run ends cancelled and its approval is void', async () => {
  const task = await newTask();
  const { run, approvalId, digest } = await waiting(task);
  for (let repeat = 0; repeat < 2; repeat += 1) {
    await s.as(OLGA).runs.cancelRun({ runId: run.id, requestId: randomUUID(), reason: 'not needed' });
  }
  expect(await s.closed(run.id)).toMatchObject({ status: RunStatus.CANCELLED, cost: { reservedMicroUsd: 0n } });
  const decision = { approvalId, digest, answer: Answer.APPROVE };
  await expect(s.as(BEN).approvals.decide({ requestId: randomUUID(), decision })).rejects.toMatchObject({
    code: 'APPROVAL_VOID',
  });
  const handle = s.temporal.client.workflow.getHandle(workflowIdOf(run.id));
  await expect(handle.result()).rejects.toMatchObject({ cause: { name: 'CancelledFailure' } });
  await s.as(OLGA).runs.cancelRun({ runId: run.id, requestId: randomUUID(), reason: 'again' });
});

test('a cancel within a stream aborts it, and what was charged is on record', async () => {
  const slow = await s.applyAgent({ script: 'slow-stream' });
  const run = await s.start(slow, 'Go');
  await s.until(run.id, (event) => event.kind === 'turn.started');
  await s.as(OLGA).runs.cancelRun({ runId: run.id, requestId: randomUUID(), reason: 'enough' });
  const end = await s.closed(run.id, 20_000);
  expect(end).toMatchObject({ status: RunStatus.CANCELLED, cost: { reservedMicroUsd: 0n } });
});

test("cancel from Temporal's side is the run's cancel", async () => {
  const { run } = await waiting(await newTask());
  await s.temporal.client.workflow.getHandle(workflowIdOf(run.id)).cancel();
  expect(await s.closed(run.id)).toMatchObject({ status: RunStatus.CANCELLED, stopReason: 'cancelled' });
});

test("terminate from Temporal's side: the reconciler closes the run, frees what it held, voids the approval", async () => {
  const task = await newTask();
  const { run } = await waiting(task);
  await s.temporal.client.workflow.getHandle(workflowIdOf(run.id)).terminate('from the Web UI');
  // The reconciler leaves young runs alone, and comes every 30 s: this one is old, and it comes now.
  await s.query("update steward.agent_runs set workflow_started_at = now() - interval '1 minute' where id = $1", [
    run.id,
  ]);
  let end: Run | undefined;
  // A pass that is under way when another is asked for lets that one out.
  for (let asked = 0; asked < 12 && !end; asked += 1) {
    await s.temporal.client.schedule.getHandle('steward/reconcile').trigger();
    end = await s.closed(run.id, 10_000).catch(() => undefined);
  }
  expect(end).toMatchObject({ status: RunStatus.TERMINATED, stopReason: 'terminated', cost: { reservedMicroUsd: 0n } });
  expect(await exists(task)).toBe(true);
}, 180_000);

test("reset from Temporal's side reuses the stored message and the receipts", async () => {
  const title = `reset ${randomUUID()}`;
  const turns = [
    [{ tool: 'create_task', args: { project_id: 'apollo', title } }],
    [{ tool: 'delete_task', args: { task_id: await newTask() } }],
  ];
  const run = await s.start(agent, `params: ${JSON.stringify({ turns, final: 'Done.' })}`);
  await s.until(run.id, (event) => event.kind === 'approval.asked');
  const handle = s.temporal.client.workflow.getHandle(workflowIdOf(run.id));
  const { runId } = await handle.describe();
  const { events } = await handle.fetchHistory();
  const first = events?.find((event) => event.workflowTaskCompletedEventAttributes);
  const { workflowService } = s.temporal.client;
  await workflowService.resetWorkflowExecution({
    namespace: s.temporal.namespace,
    workflowExecution: { workflowId: workflowIdOf(run.id), runId },
    reason: 'test',
    requestId: randomUUID(),
    // The end of the first workflow task: everything is played again.
    workflowTaskFinishEventId: first?.eventId ?? null,
  });
  await s.decide(run.id, 'approve');
  expect((await s.closed(run.id)).status).toBe(RunStatus.COMPLETED);
  expect(await s.query('select 1 from projects.tasks where title = $1', [title])).toHaveLength(1);
  const attempts = await s.query('select 1 from steward.agent_run_costs where run_id = $1', [run.id]);
  expect(attempts).toHaveLength(3);
});
