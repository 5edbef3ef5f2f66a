import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Answer, type Approval } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { ApprovalState, type JudgedCall } from '#gen/steward/guard/v1/guard_service_pb.ts';
import type { Role } from '#platform/identity/principal.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type Bench, type BenchRun, guardBench } from '#test/support/guard/bench.ts';

let bench: Bench;

beforeAll(async () => {
  bench = await guardBench();
}, 180_000);

afterAll(() => bench.stop(), 30_000);

async function asked(): Promise<{ run: BenchRun; call: JudgedCall }> {
  const run = await bench.run();
  return { run, call: await run.ask() };
}

interface Given {
  readonly answer?: Answer;
  readonly reason?: string;
  readonly digest?: string;
  readonly requestId?: string;
  readonly subject?: string;
  readonly roles?: readonly Role[];
  readonly onBehalfOf?: string;
  readonly tenant?: string;
}

let count = 0;
function decide(run: BenchRun, call: JudgedCall, given: Given = {}) {
  count += 1;
  const { subject = 'bea@acme', roles = ['approver'], onBehalfOf, tenant = run.tenant } = given;
  return bench.person(tenant, subject, roles, onBehalfOf).decide({
    requestId: given.requestId ?? `request-${count}`,
    decision: {
      approvalId: call.approvalId,
      answer: given.answer ?? Answer.APPROVE,
      digest: given.digest ?? call.digest,
      reason: given.reason ?? '',
    },
  });
}

test('an approval is recorded with all that follows from it, in one transaction', async () => {
  const { run, call } = await asked();
  const { decisionId, approval } = await decide(run, call, { reason: 'It is a duplicate.\nGo on.' });
  expect(approval).toMatchObject({
    id: call.approvalId,
    state: ApprovalState.APPROVED,
    decidedBy: 'bea@acme',
    reason: 'It is a duplicate.\nGo on.',
    digest: call.digest,
  });
  expect((await run.rows('decisions'))[0]).toMatchObject({
    id: decisionId,
    approval_id: call.approvalId,
    call_id: '1.0',
    answer: 'approve',
    digest: call.digest,
    decided_by: 'bea@acme',
    roles: ['approver'],
    via: 'decide',
  });
  expect((await run.rows('approvals'))[0]).toMatchObject({ state: 'approved' });
  expect(await run.row()).toMatchObject({ open_approvals: 0, status: 'running', waits_until: null });
  expect((await run.rows('events')).at(-1)).toMatchObject({
    kind: 'approval.decided',
    turn: 1,
    call_id: '1.0',
    data: { approval: call.approvalId, answer: 'approve', by: 'bea@acme' },
  });
  expect((await run.rows('audit'))[1]).toMatchObject({
    actor: 'bea@acme',
    action: 'approval.approve',
    call_id: '1.0',
    digest: call.digest,
    data: { decision: decisionId, via: 'decide' },
  });
  expect((await run.rows('outbox'))[0]).toMatchObject({
    kind: 'decide_approval',
    payload: { approvalId: call.approvalId, digest: call.digest },
  });
  expect((await run.rows('calls'))[0]).toMatchObject({ state: 'judged' });
  expect(await run.rows('steps')).toEqual([]);
});

test('a no ends the call, and the model is told who said it and why', async () => {
  const { run, call } = await asked();
  await decide(run, call, { answer: Answer.DENY, reason: 'Keep it for the audit.' });
  expect((await run.rows('calls'))[0]).toMatchObject({ state: 'denied', error_code: 'APPROVAL_DENIED' });
  const [step] = await run.rows('steps');
  expect(step).toMatchObject({ kind: 'tool_result', turn: 1, call_id: '1.0', ordinal: 0 });
  expect(step?.content).toMatchObject({ callId: '1.0', providerId: 'toolu_0', isError: true });
  expect(JSON.parse(step?.content.text)).toEqual({
    error: { code: 'APPROVAL_DENIED', message: 'denied by bea@acme: Keep it for the audit.' },
  });
  expect((await run.rows('events')).map((row) => row.kind)).toEqual([
    'approval.asked',
    'approval.decided',
    'tool.denied',
  ]);
  expect((await run.rows('approvals'))[0]).toMatchObject({ state: 'denied' });
});

test('the run goes on to wait until its last question is answered', async () => {
  const run = await bench.run();
  const { calls } = await run.judge([
    { tool: 'delete_note', args: { note_id: 'a' } },
    { tool: 'delete_note', args: { note_id: 'b' } },
  ]);
  const [first, second] = calls as [JudgedCall, JudgedCall];
  await decide(run, second);
  expect(await run.row()).toMatchObject({ open_approvals: 1, status: 'awaiting_approval' });
  await decide(run, first);
  expect(await run.row()).toMatchObject({ open_approvals: 0, status: 'running' });
});

test('a paused run stays paused when its question is answered', async () => {
  const { run, call } = await asked();
  await bench.database.query("update steward.agent_runs set status = 'paused', paused_by = 'op' where id = $1", [
    run.id,
  ]);
  await decide(run, call);
  expect(await run.row()).toMatchObject({ open_approvals: 0, status: 'paused' });
});

test('20 people at once: one answer is recorded, and the others hear whose', async () => {
  const { run, call } = await asked();
  const all = await Promise.allSettled(
    Array.from({ length: 20 }, (_, n) =>
      decide(run, call, { subject: `p${n}@acme`, answer: n % 2 === 0 ? Answer.APPROVE : Answer.DENY }),
    ),
  );
  const decided = all.filter((one) => one.status === 'fulfilled').map((one) => one.value.approval as Approval);
  expect(decided).toHaveLength(1);
  const refused = all.filter((one) => one.status === 'rejected').map((one) => one.reason);
  for (const error of refused) {
    expect(error).toMatchObject({ code: 'ALREADY_DECIDED', details: { decidedBy: decided[0]?.decidedBy } });
    expect(error.message).toContain(decided[0]?.decidedBy);
  }
  expect(await run.rows('decisions')).toHaveLength(1);
  expect(await run.rows('outbox')).toHaveLength(1);
  expect(await run.row()).toMatchObject({ open_approvals: 0 });
});

test('a repeated request returns the recorded answer; with another body it is refused', async () => {
  const { run, call } = await asked();
  const first = await decide(run, call, { requestId: 'same', reason: 'Yes.' });
  expect(await decide(run, call, { requestId: 'same', reason: 'Yes.' })).toEqual(first);
  for (const other of [{ answer: Answer.DENY }, { reason: 'No.' }, { digest: 'a'.repeat(64) }]) {
    const again = decide(run, call, { requestId: 'same', reason: 'Yes.', ...other });
    expect((await stewardErrorOf(again)).code).toBe('REQUEST_ID_REUSED');
  }
  const next = await run.ask({ note_id: 'n2' }, 2);
  expect((await stewardErrorOf(decide(run, next, { requestId: 'same', reason: 'Yes.' }))).code).toBe(
    'REQUEST_ID_REUSED',
  );
  // Request ids are each person's own.
  expect((await decide(run, next, { requestId: 'same', subject: 'cleo@acme' })).approval?.decidedBy).toBe('cleo@acme');
  expect(await run.rows('decisions')).toHaveLength(2);
});

test('the same request for 10 approvals at once is recorded for one of them', async () => {
  const run = await bench.run();
  const { calls } = await run.judge(
    Array.from({ length: 10 }, (_, n) => ({ tool: 'delete_note', args: { note_id: `n${n}` } })),
  );
  const other = await bench.run({ tenant: run.tenant });
  const elsewhere = await other.ask();
  const all = await Promise.allSettled([
    ...calls.map((call) => decide(run, call, { requestId: 'one' })),
    decide(other, elsewhere, { requestId: 'one' }),
  ]);
  expect(all.filter((one) => one.status === 'fulfilled')).toHaveLength(1);
  for (const one of all) if (one.status === 'rejected') expect(one.reason.code).toBe('REQUEST_ID_REUSED');
});

test('another digest than the one shown is refused', async () => {
  const { run, call } = await asked();
  expect((await stewardErrorOf(decide(run, call, { digest: 'f'.repeat(64) }))).code).toBe('DIGEST_MISMATCH');
  expect(await run.rows('decisions')).toEqual([]);
});

test.each([
  ['an operator who is no approver', { subject: 'op@acme', roles: ['operator'] }, 'NOT_PERMITTED'],
  ['an auditor', { subject: 'aud@acme', roles: ['auditor', 'admin'] }, 'NOT_PERMITTED'],
  ['another user', { subject: 'zoe@acme', roles: ['user'] }, 'NOT_PERMITTED'],
  ['the service that started the run', { subject: 'shop@acme', roles: ['service'] }, 'ROLE_MISSING'],
  ['a service for its user', { subject: 'shop@acme', roles: ['service'], onBehalfOf: 'ann@acme' }, 'ROLE_MISSING'],
  [
    'a service that is an approver too, for its user',
    { subject: 'shop@acme', roles: ['service', 'approver'], onBehalfOf: 'ann@acme' },
    'NOT_PERMITTED',
  ],
  ['a service that is an approver too', { subject: 'shop@acme', roles: ['service', 'approver'] }, 'NOT_PERMITTED'],
  ['a worker', { subject: 'worker-1', roles: ['worker', 'approver'] }, 'NOT_PERMITTED'],
] as const)('%s may not decide', async (_name, person, code) => {
  const { run, call } = await asked();
  expect((await stewardErrorOf(decide(run, call, person))).code).toBe(code);
  expect(await run.rows('decisions')).toEqual([]);
  expect(await run.row()).toMatchObject({ open_approvals: 1 });
});

test('the acting user may confirm, unless the tenant forbids it, and then not as an approver either', async () => {
  const own = { subject: 'ann@acme', roles: ['user'] } as const;
  const { run, call } = await asked();
  expect((await decide(run, call, own)).approval).toMatchObject({ decidedBy: 'ann@acme', userMayConfirm: true });

  const strict = await bench.run({ tenant: await bench.database.tenant({ users_may_confirm: false }) });
  const question = await strict.ask();
  for (const roles of [['user'], ['user', 'approver']] as const) {
    expect((await stewardErrorOf(decide(strict, question, { ...own, roles }))).code).toBe('NOT_PERMITTED');
  }
  expect((await decide(strict, question)).approval).toMatchObject({ decidedBy: 'bea@acme', userMayConfirm: false });
});

test('an answer after the expiry, or after the run has closed, is refused', async () => {
  const late = await asked();
  await bench.database.query(
    "update steward.approvals set expires_at = now() - interval '1 second' where run_id = $1",
    [late.run.id],
  );
  expect((await stewardErrorOf(decide(late.run, late.call))).code).toBe('APPROVAL_EXPIRED');

  const voided = await asked();
  await bench.database.query("update steward.approvals set state = 'void' where run_id = $1", [voided.run.id]);
  expect((await stewardErrorOf(decide(voided.run, voided.call))).code).toBe('APPROVAL_VOID');

  const closed = await asked();
  await bench.database.query("update steward.agent_runs set status = 'failed', closed_at = now() where id = $1", [
    closed.run.id,
  ]);
  expect((await stewardErrorOf(decide(closed.run, closed.call))).code).toBe('APPROVAL_VOID');
  for (const { run } of [late, voided, closed]) expect(await run.rows('decisions')).toEqual([]);
});

test('an approval of another tenant is not there', async () => {
  const { run, call } = await asked();
  const tenant = await bench.database.tenant();
  expect((await stewardErrorOf(decide(run, call, { tenant }))).code).toBe('NOT_FOUND');
  expect(await run.rows('decisions')).toEqual([]);
});

test.each([
  ['no request id', { requestId: '' }],
  ['a long request id', { requestId: 'x'.repeat(101) }],
  ['no answer', { answer: Answer.UNSPECIFIED }],
  ['no digest', { digest: '' }],
  ['a digest in capitals', { digest: 'F'.repeat(64) }],
  ['a long reason', { reason: 'x'.repeat(2_001) }],
  ['a reason with NUL', { reason: 'a\u0000b' }],
])('a request with %s is refused in words', async (_name, given) => {
  const { run, call } = await asked();
  expect(await stewardErrorOf(decide(run, call, given))).toMatchObject({ code: 'INVALID_REQUEST' });
  const people = bench.person(run.tenant, 'bea@acme', ['approver']);
  expect((await stewardErrorOf(people.decide({ requestId: 'r' }))).code).toBe('INVALID_REQUEST');
});

test('odd ids are not found', async () => {
  const { run, call } = await asked();
  for (const approvalId of ['nothing', "'; drop table", 'a\u0000']) {
    expect((await stewardErrorOf(decide(run, { ...call, approvalId }))).code).toBe('NOT_FOUND');
  }
});

test('without Temporal the answer is recorded, and owed to the run', async () => {
  const { run, call } = await asked();
  const { applied } = await bench.person(run.tenant, 'bea@acme', ['approver']).decideAndWait({
    requestId: 'wait',
    decision: { approvalId: call.approvalId, answer: Answer.APPROVE, digest: call.digest },
  });
  expect(applied).toBe(false);
  expect(await run.rows('decisions')).toHaveLength(1);
  expect((await run.rows('outbox'))[0]).toMatchObject({ kind: 'decide_approval', delivered_at: null });
});
