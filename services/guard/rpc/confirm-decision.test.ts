import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Answer } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { ApprovalState, type JudgedCall } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type Bench, type BenchRun, guardBench } from '#test/support/guard/bench.ts';

let bench: Bench;

beforeAll(async () => {
  bench = await guardBench();
}, 180_000);

afterAll(() => bench.stop(), 30_000);

interface Asked {
  readonly run: BenchRun;
  readonly call: JudgedCall;
}

async function asked(): Promise<Asked> {
  const run = await bench.run();
  return { run, call: await run.ask() };
}

const confirm = ({ run, call }: Asked, signedDecision = '') =>
  bench.worker.confirmDecision({ runGrant: run.runGrant, approvalId: call.approvalId, signedDecision });

const decide = ({ run, call }: Asked, answer: Answer) =>
  bench.person(run.tenant, 'bea@acme', ['approver']).decide({
    requestId: call.approvalId,
    decision: { approvalId: call.approvalId, answer, digest: call.digest },
  });

const expire = ({ run }: Asked) =>
  bench.database.query("update steward.approvals set expires_at = now() - interval '1 second' where run_id = $1", [
    run.id,
  ]);

test('an open question is open; a decided one says by whom, how often one asks', async () => {
  const question = await asked();
  expect(await confirm(question)).toMatchObject({ state: ApprovalState.OPEN, decidedBy: '', callId: '1.0' });
  const { decisionId } = await decide(question, Answer.APPROVE);
  for (let times = 0; times < 3; times += 1) {
    expect(await confirm(question)).toMatchObject({
      state: ApprovalState.APPROVED,
      decidedBy: 'bea@acme',
      digest: question.call.digest,
      decisionId,
    });
  }
  const denied = await asked();
  await decide(denied, Answer.DENY);
  expect(await confirm(denied)).toMatchObject({ state: ApprovalState.DENIED });
  expect((await denied.run.rows('events')).filter((event) => event.kind === 'tool.denied')).toHaveLength(1);
});

test('what nobody answered in time expires once, and the model is told', async () => {
  const question = await asked();
  await expire(question);
  const all = await Promise.all(Array.from({ length: 5 }, () => confirm(question)));
  for (const one of all) expect(one.state).toBe(ApprovalState.EXPIRED);
  const { run } = question;
  expect((await run.rows('approvals'))[0]).toMatchObject({ state: 'expired' });
  expect(await run.row()).toMatchObject({ open_approvals: 0, status: 'running' });
  expect((await run.rows('events')).map((event) => event.kind)).toEqual([
    'approval.asked',
    'approval.expired',
    'tool.denied',
  ]);
  expect((await run.rows('calls'))[0]).toMatchObject({ state: 'denied', error_code: 'APPROVAL_EXPIRED' });
  const steps = await run.rows('steps');
  expect(steps).toHaveLength(1);
  expect(JSON.parse(steps[0]?.content.text).error.code).toBe('APPROVAL_EXPIRED');
});

test('an answer given in time counts when it is confirmed late', async () => {
  const question = await asked();
  await decide(question, Answer.APPROVE);
  await expire(question);
  expect(await confirm(question)).toMatchObject({ state: ApprovalState.APPROVED, decidedBy: 'bea@acme' });
});

test('a question of a closed run is void', async () => {
  const question = await asked();
  await bench.database.query("update steward.agent_runs set status = 'cancelled', closed_at = now() where id = $1", [
    question.run.id,
  ]);
  expect(await confirm(question)).toMatchObject({ state: ApprovalState.VOID });
  expect(await question.run.rows('steps')).toEqual([]);
});

test('a question of another run, or none, is not found', async () => {
  const [question, other] = [await asked(), await asked()];
  expect((await stewardErrorOf(confirm({ ...question, run: other.run }))).code).toBe('NOT_FOUND');
  const sameTenant = await bench.run({ tenant: question.run.tenant });
  expect((await stewardErrorOf(confirm({ ...question, run: sameTenant }))).code).toBe('NOT_FOUND');
  const call = { ...question.call, approvalId: 'x\u0000' };
  expect((await stewardErrorOf(confirm({ run: question.run, call }))).code).toBe('NOT_FOUND');
});
