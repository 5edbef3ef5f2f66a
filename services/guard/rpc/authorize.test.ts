import { timestampMs } from '@bufbuild/protobuf/wkt';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Answer } from '#gen/steward/guard/v1/approval_service_pb.ts';
import type { JudgedCall } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { canonicalBytes, parseActionRecord } from '#platform/identity/action-record.ts';
import { digestOf } from '#platform/identity/canonical-json.ts';
import { executionGrantVerifier } from '#platform/identity/grants.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type Bench, type BenchRun, guardBench } from '#test/support/guard/bench.ts';
import { deskTools } from '#test/support/guard/desk.ts';

let bench: Bench;

beforeAll(async () => {
  bench = await guardBench();
}, 180_000);

afterAll(() => bench.stop(), 30_000);

const authorize = (run: BenchRun, call: Pick<JudgedCall, 'callId' | 'digest'>) =>
  bench.worker.authorize({ runGrant: run.runGrant, callId: call.callId, digest: call.digest });
const refusal = async (run: BenchRun, call: Pick<JudgedCall, 'callId' | 'digest'>) =>
  stewardErrorOf(authorize(run, call));

async function allowed(): Promise<{ run: BenchRun; call: JudgedCall }> {
  const run = await bench.run();
  const { calls } = await run.judge([{ tool: 'write_note', args: { note_id: 'n1', text: 'Hi' } }]);
  return { run, call: calls[0] as JudgedCall };
}

async function asked(): Promise<{ run: BenchRun; call: JudgedCall }> {
  const run = await bench.run();
  return { run, call: await run.ask() };
}

const answer = (run: BenchRun, call: JudgedCall, given: Answer, subject = 'bea@acme', roles = ['approver'] as const) =>
  bench.person(run.tenant, subject, roles).decide({
    requestId: `${call.approvalId}-${given}`,
    decision: { approvalId: call.approvalId, answer: given, digest: call.digest, reason: '' },
  });

const set = (run: BenchRun, table: string, change: string) =>
  bench.database.query(`update steward.${table} set ${change} where ${table === 'agent_runs' ? 'id' : 'run_id'} = $1`, [
    run.id,
  ]);

test('what policy allows is started, and granted for one attempt of exactly this call', async () => {
  const { run, call } = await allowed();
  const before = Date.now();
  const granted = await authorize(run, call);
  expect(granted).toMatchObject({ catalog: 'desk', attempt: 1 });
  expect(digestOf(granted.actionRecord)).toBe(call.digest);
  expect(granted.executionGrants).toHaveLength(1);
  const verified = await executionGrantVerifier(bench.keys.guard.jwks, 'desk').verify(granted.executionGrants[0] ?? '');
  expect(verified).toMatchObject({
    tenant: run.tenant,
    run: run.id,
    call: '1.0',
    key: `${run.id}/1.0`,
    digest: call.digest,
    tool: 'write_note',
    attempt: 1,
  });
  expect(verified.expiresAt.getTime() - verified.issuedAt.getTime()).toBeLessThanOrEqual(120_000);
  expect(verified.issuedAt.getTime()).toBeGreaterThanOrEqual(before - 1_000);
  expect(granted.expiresAt && timestampMs(granted.expiresAt)).toBe(verified.expiresAt.getTime());
  expect((await run.rows('calls'))[0]).toMatchObject({ state: 'started', attempts: 1, started_at: expect.any(Date) });
  expect((await run.rows('events')).at(-1)).toMatchObject({
    kind: 'tool.started',
    call_id: '1.0',
    data: { tool: 'write_note', catalog: 'desk', attempt: 1, approvedBy: 'policy' },
  });
});

test('a call that was started may be tried again, each time under a grant of its own', async () => {
  const { run, call } = await allowed();
  const first = await authorize(run, call);
  await set(run, 'agent_run_tool_invocations', "state = 'outcome_unknown'");
  const second = await authorize(run, call);
  expect(second.attempt).toBe(2);
  expect(second.executionGrants).not.toEqual(first.executionGrants);
  expect((await run.rows('calls'))[0]).toMatchObject({ state: 'started', attempts: 2 });
});

test('what must be asked for runs with the approval of exactly this call', async () => {
  const { run, call } = await asked();
  expect(await refusal(run, call)).toMatchObject({ code: 'APPROVAL_MISSING' });
  await answer(run, call, Answer.APPROVE);
  await authorize(run, call);
  expect((await run.rows('events')).at(-1)?.data).toMatchObject({ approvedBy: 'bea@acme', attempt: 1 });
});

test('a call that was denied stays denied', async () => {
  const { run, call } = await asked();
  await answer(run, call, Answer.DENY);
  expect(await refusal(run, call)).toMatchObject({
    code: 'POLICY_DENIED',
    message: expect.stringContaining('bea@acme'),
  });

  const denied = await bench.run();
  const { calls } = await denied.judge([{ tool: 'no_such_tool' }]);
  expect(await refusal(denied, calls[0] as JudgedCall)).toMatchObject({
    code: 'POLICY_DENIED',
    details: { code: 'TOOL_UNKNOWN' },
  });
});

test('the digest must be the one judged, and the stored bytes must be its own', async () => {
  const { run, call } = await allowed();
  expect((await refusal(run, { ...call, digest: 'f'.repeat(64) })).code).toBe('DIGEST_MISMATCH');
  expect((await refusal(run, { ...call, digest: '' })).code).toBe('DIGEST_MISMATCH');

  // Bytes rewritten in the database: under the old digest, and under one that fits them.
  const [row] = await run.rows('calls');
  const record = { ...parseActionRecord(row?.action_record), args: { note_id: 'n1', text: 'Evil' } };
  const bytes = Buffer.from(canonicalBytes(record));
  const store = (digest: string) =>
    bench.database.query(
      'update steward.agent_run_tool_invocations set action_record = $2, digest = $3 where run_id = $1',
      [run.id, bytes, digest],
    );
  await store(call.digest);
  expect((await refusal(run, call)).code).toBe('DIGEST_MISMATCH');
  await store(digestOf(bytes));
  expect((await refusal(run, call)).code).toBe('DIGEST_MISMATCH');
});

test('an approval of other arguments does not carry over to rewritten ones', async () => {
  const { run, call } = await asked();
  await answer(run, call, Answer.APPROVE);
  const [row] = await run.rows('calls');
  const bytes = Buffer.from(canonicalBytes({ ...parseActionRecord(row?.action_record), args: { note_id: 'other' } }));
  const digest = digestOf(bytes);
  await bench.database.query(
    'update steward.agent_run_tool_invocations set action_record = $2, digest = $3 where run_id = $1',
    [run.id, bytes, digest],
  );
  expect((await refusal(run, { ...call, digest })).code).toBe('APPROVAL_MISSING');
});

test('a record of another call cannot be run under this one', async () => {
  const { run, call } = await allowed();
  const other = await allowed();
  const [row] = await other.run.rows('calls');
  await bench.database.query(
    'update steward.agent_run_tool_invocations set action_record = $2, digest = $3 where run_id = $1',
    [run.id, row?.action_record, row?.digest],
  );
  expect((await refusal(run, { ...call, digest: row?.digest })).code).toBe('DIGEST_MISMATCH');
});

test('only a stored answer counts, whatever the state column says', async () => {
  const { run, call } = await asked();
  await set(run, 'approvals', "state = 'approved'");
  expect((await refusal(run, call)).code).toBe('APPROVAL_MISSING');
});

test('an answer that came after its approval had expired does not count', async () => {
  const { run, call } = await asked();
  await answer(run, call, Answer.APPROVE);
  await set(run, 'approvals', "expires_at = now() - interval '1 hour'");
  expect((await refusal(run, call)).code).toBe('APPROVAL_MISSING');
});

test('an approval given in time counts although it has expired since', async () => {
  const { run, call } = await asked();
  await answer(run, call, Answer.APPROVE);
  const past = "now() - interval '1 hour'";
  await set(run, 'approvals', `expires_at = ${past}`);
  await set(run, 'approval_decisions', `decided_at = ${past} - interval '1 minute'`);
  expect((await authorize(run, call)).attempt).toBe(1);
});

test.each([
  ['expired', "state = 'open', expires_at = now() - interval '1 second'", 'APPROVAL_EXPIRED'],
  ['marked expired', "state = 'expired'", 'APPROVAL_EXPIRED'],
  ['void', "state = 'void'", 'APPROVAL_VOID'],
])('an approval that is %s lets nothing run', async (_name, change, code) => {
  const { run, call } = await asked();
  await set(run, 'approvals', change);
  expect((await refusal(run, call)).code).toBe(code);
});

test('who approved must still be one who may', async () => {
  const { run, call } = await asked();
  await answer(run, call, Answer.APPROVE, 'ann@acme', ['user'] as never);
  await bench.database.query('update steward.tenants set users_may_confirm = false where id = $1', [run.tenant]);
  expect(await refusal(run, call)).toMatchObject({
    code: 'APPROVAL_MISSING',
    message: expect.stringContaining('ann@acme'),
  });
  await bench.database.query('update steward.tenants set users_may_confirm = true where id = $1', [run.tenant]);
  expect((await authorize(run, call)).attempt).toBe(1);
});

test('the rules in force now can only ask for more than those of the verdict', async () => {
  const { run, call } = await asked();
  await answer(run, call, Answer.APPROVE);
  await set(run, 'approvals', 'tier = 2');
  expect(await refusal(run, call)).toMatchObject({
    code: 'APPROVAL_MISSING',
    message: expect.stringContaining('tier 3'),
  });
  // A verdict rewritten to allow finds nobody who was asked.
  const other = await asked();
  await set(other.run, 'agent_run_tool_invocations', "verdict = 'allow', approval_id = null");
  expect((await refusal(other.run, other.call)).code).toBe('APPROVAL_MISSING');
});

test.each([
  ['is closed', "status = 'completed', closed_at = now()", 'WRONG_STATE'],
  ['is being cancelled', "cancel_requested_by = 'op@acme'", 'CANCELLED'],
  ['is paused', "status = 'paused', paused_by = 'op@acme'", 'WRONG_STATE'],
])('nothing begins in a run that %s', async (_name, change, code) => {
  const { run, call } = await allowed();
  await set(run, 'agent_runs', change);
  expect((await refusal(run, call)).code).toBe(code);
  expect((await run.rows('calls'))[0]).toMatchObject({ state: 'judged', attempts: 0 });
});

test.each(['done', 'refused', 'failed', 'cancelled', 'denied'])('a call that is %s runs no more', async (state) => {
  const { run, call } = await allowed();
  await set(run, 'agent_run_tool_invocations', `state = '${state}'`);
  expect(await refusal(run, call)).toMatchObject({ code: 'WRONG_STATE', details: { state } });
});

test('calls that were never judged, or are of another run, are not found', async () => {
  const { run, call } = await allowed();
  expect((await refusal(run, { ...call, callId: '1.7' })).code).toBe('NOT_FOUND');
  expect((await refusal(run, { ...call, callId: 'x\u0000' })).code).toBe('NOT_FOUND');
  const other = await bench.run();
  expect((await refusal(other, call)).code).toBe('NOT_FOUND');
});

test('20 authorisations at once give 20 attempts and as many grants', async () => {
  const { run, call } = await allowed();
  const all = await Promise.all(Array.from({ length: 20 }, () => authorize(run, call)));
  expect(new Set(all.map((one) => one.attempt)).size).toBe(20);
  expect(new Set(all.map((one) => one.executionGrants[0])).size).toBe(20);
  const sequences = (await run.rows('events')).map((event) => event.sequence);
  expect(sequences).toEqual(sequences.map((_, index) => index + 1));
});

test('a tool that changed while people thought does not run', async () => {
  const { run, call } = await asked();
  await answer(run, call, Answer.APPROVE);
  await bench.replaceDesk(deskTools('2'));
  bench.later(31_000);
  expect((await refusal(run, call)).code).toBe('TOOL_CHANGED');
  await bench.replaceDesk(deskTools());
  bench.later(31_000);
  expect((await authorize(run, call)).attempt).toBe(1);
});

test('while the hash of a tool cannot be read, nothing begins', async () => {
  const { run, call } = await allowed();
  await bench.replaceDesk();
  bench.later(301_000);
  expect((await refusal(run, call)).code).toBe('UNAVAILABLE');
  expect((await run.rows('calls'))[0]).toMatchObject({ state: 'judged', attempts: 0 });
  await bench.replaceDesk(deskTools());
});
