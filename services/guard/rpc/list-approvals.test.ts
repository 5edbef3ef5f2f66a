import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Answer } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { ApprovalState, type JudgedCall } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { digestOf } from '#platform/identity/canonical-json.ts';
import type { Role } from '#platform/identity/principal.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type Bench, type BenchRun, guardBench } from '#test/support/guard/bench.ts';

let bench: Bench;

beforeAll(async () => {
  bench = await guardBench();
}, 180_000);

afterAll(() => bench.stop(), 30_000);

const note = (id: string) => ({ tool: 'delete_note', args: { note_id: id } });
const approver = (tenant: string) => bench.person(tenant, 'bea@acme', ['approver']);
const idsOf = (approvals: readonly { readonly id: string }[]) => approvals.map((approval) => approval.id);

async function pages(
  tenant: string,
  request: { readonly pageSize?: number; readonly runId?: string },
): Promise<string[][]> {
  const found: string[][] = [];
  let pageToken = '';
  for (let page = 0; page < 20; page += 1) {
    const answer = await approver(tenant).listApprovals({ ...request, pageToken });
    found.push(idsOf(answer.approvals));
    pageToken = answer.nextPageToken;
    if (pageToken === '') break;
  }
  return found;
}

test('an approval shows the exact call, rendered from the bytes that will run', async () => {
  const run = await bench.run();
  const call = await run.ask({ note_id: 'n 1' });
  const { approval, actionRecord } = await approver(run.tenant).getApproval({ approvalId: call.approvalId });
  expect(digestOf(actionRecord)).toBe(call.digest);
  expect(approval).toMatchObject({
    id: call.approvalId,
    runId: run.id,
    callId: '1.0',
    agent: 'helper',
    actingUser: 'ann@acme',
    catalog: 'desk',
    tool: 'delete_note',
    argsJson: '{"note_id":"n 1"}',
    digest: call.digest,
    tier: 3,
    why: ['risk.destructive: delete_note removes or overwrites something of value'],
    state: ApprovalState.OPEN,
    userMayConfirm: true,
    previewError: '',
    decidedBy: '',
  });
  expect(approval?.preview).toMatchObject({
    summary: 'delete note n 1',
    fields: [{ record: 'note/n 1', field: 'title', beforeJson: '"Greeting"', afterJson: '' }, { field: 'text' }],
    quantities: { 'rows.deleted': 1n },
  });
  expect(approval?.expiresAt).toEqual(call.expiresAt);
});

test('bytes that are not those of the digest are shown to nobody', async () => {
  const run = await bench.run();
  const call = await run.ask();
  await bench.database.query(
    "update steward.approvals set action_record = action_record || ' '::bytea where run_id = $1",
    [run.id],
  );
  expect((await stewardErrorOf(approver(run.tenant).getApproval({ approvalId: call.approvalId }))).code).toBe(
    'INTERNAL',
  );
});

test('open approvals come newest first, in pages that meet without gap or repeat', async () => {
  const run = await bench.run();
  const asked: string[] = [];
  for (let turn = 1; turn <= 3; turn += 1) {
    const { calls } = await run.judge([note('a'), note('b'), note('c')], turn);
    asked.push(...calls.map((call) => call.approvalId));
  }
  const all = await pages(run.tenant, { pageSize: 2 });
  expect(all.map((page) => page.length)).toEqual([2, 2, 2, 2, 1]);
  expect(new Set(all.flat())).toEqual(new Set(asked));
  expect(new Set(all[0])).not.toEqual(new Set(asked.slice(0, 2)));
  const { approvals } = await approver(run.tenant).listApprovals({});
  expect(idsOf(approvals)).toEqual(all.flat());
  const times = approvals.map((approval) => approval.createdAt?.seconds ?? 0n);
  expect(times).toEqual(times.toSorted((a, b) => Number(b - a)));
});

test('each state lists what stands in it, by the clock and by the run too', async () => {
  const run = await bench.run();
  const closed = await bench.run({ tenant: run.tenant });
  const { calls } = await run.judge([note('open'), note('yes'), note('no'), note('late'), note('expired')]);
  const ids = idsOf(calls.map((call) => ({ id: call.approvalId })));
  const [open, yes, no, late, expired] = ids as [string, string, string, string, string];
  const answer = (approvalId: string, given: Answer) => {
    const digest = calls.find((call) => call.approvalId === approvalId)?.digest ?? '';
    return approver(run.tenant).decide({ requestId: approvalId, decision: { approvalId, answer: given, digest } });
  };
  await answer(yes, Answer.APPROVE);
  await answer(no, Answer.DENY);
  const past = "expires_at = now() - interval '1 second'";
  await bench.database.query(`update steward.approvals set ${past} where id = $1`, [late]);
  await bench.database.query(`update steward.approvals set ${past}, state = 'expired' where id = $1`, [expired]);
  const gone = await closed.ask();
  await bench.database.query("update steward.agent_runs set closed_at = now(), status = 'failed' where id = $1", [
    closed.id,
  ]);

  const list = async (state: ApprovalState) => {
    const { approvals } = await approver(run.tenant).listApprovals({ state });
    for (const approval of approvals) expect(approval.state).toBe(state || ApprovalState.OPEN);
    return new Set(idsOf(approvals));
  };
  expect(await list(ApprovalState.UNSPECIFIED)).toEqual(new Set([open]));
  expect(await list(ApprovalState.OPEN)).toEqual(new Set([open]));
  expect(await list(ApprovalState.APPROVED)).toEqual(new Set([yes]));
  expect(await list(ApprovalState.DENIED)).toEqual(new Set([no]));
  expect(await list(ApprovalState.EXPIRED)).toEqual(new Set([late, expired]));
  expect(await list(ApprovalState.VOID)).toEqual(new Set([gone.approvalId]));
  expect((await pages(run.tenant, { runId: closed.id })).flat()).toEqual([]);
  expect((await pages(run.tenant, { runId: run.id })).flat()).toEqual([open]);
});

test('users and services see the approvals of their own runs; approvers, operators, admins and auditors all', async () => {
  const own = await bench.run();
  const other = await bench.run({
    tenant: own.tenant,
    columns: { acting_user: 'zoe@acme', started_by: 'crm@acme' },
    grant: { user: 'zoe@acme' },
  });
  const [mine, theirs] = [await own.ask(), await other.ask()];
  const see = async (subject: string, roles: readonly Role[], onBehalfOf?: string) => {
    const client = bench.person(own.tenant, subject, roles, onBehalfOf);
    const { approvals } = await client.listApprovals({});
    const got = await Promise.allSettled(
      [mine, theirs].map((call) => client.getApproval({ approvalId: call.approvalId })),
    );
    const seen = got.flatMap((one) => (one.status === 'fulfilled' ? [one.value.approval?.id ?? ''] : []));
    expect(new Set(seen)).toEqual(new Set(idsOf(approvals)));
    return new Set(seen);
  };
  const ids = (...calls: JudgedCall[]) => new Set(calls.map((call) => call.approvalId));
  for (const role of ['approver', 'operator', 'admin', 'auditor'] as const) {
    expect(await see('x@acme', [role])).toEqual(ids(mine, theirs));
  }
  expect(await see('ann@acme', ['user'])).toEqual(ids(mine));
  expect(await see('zoe@acme', ['user'])).toEqual(ids(theirs));
  expect(await see('shop@acme', ['service'])).toEqual(ids(mine));
  expect(await see('crm@acme', ['service'], 'zoe@acme')).toEqual(ids(theirs));
  expect(await see('nobody@acme', ['user'])).toEqual(new Set());
});

test('another tenant sees nothing, and cannot ask for more', async () => {
  const run: BenchRun = await bench.run();
  const call = await run.ask();
  const foreign = bench.person(await bench.database.tenant(), 'bea@acme', ['approver', 'admin', 'operator', 'auditor']);
  expect((await foreign.listApprovals({})).approvals).toEqual([]);
  expect((await foreign.listApprovals({ runId: run.id })).approvals).toEqual([]);
  expect((await stewardErrorOf(foreign.getApproval({ approvalId: call.approvalId }))).code).toBe('NOT_FOUND');
  expect((await stewardErrorOf(foreign.listApprovals({ tenant: run.tenant }))).code).toBe('TENANT_MISMATCH');
  expect((await approver(run.tenant).listApprovals({ tenant: run.tenant })).approvals).toHaveLength(1);
});

test('a page of large calls ends early and goes on with the next', async () => {
  const run = await bench.run();
  const { calls } = await run.judge(Array.from({ length: 5 }, (_, n) => note(`n${n}`)));
  const preview = JSON.stringify({
    summary: 'much',
    fields: [{ record: 'r', field: 'f', before: 'x'.repeat(190_000) }],
    quantities: {},
  });
  await bench.database.query('update steward.approvals set preview = $2 where run_id = $1', [run.id, preview]);
  const all = await pages(run.tenant, { pageSize: 100 });
  expect(all.map((page) => page.length)).toEqual([2, 2, 1]);
  expect(all.flat()).toHaveLength(calls.length);
});

test('pages and filters that make no sense are refused', async () => {
  const run = await bench.run();
  const code = async (request: object) => (await stewardErrorOf(approver(run.tenant).listApprovals(request))).code;
  expect(await code({ pageSize: 101 })).toBe('INVALID_REQUEST');
  expect(await code({ pageSize: -1 })).toBe('INVALID_REQUEST');
  expect(await code({ pageToken: 'abc' })).toBe('INVALID_REQUEST');
  expect(await code({ pageToken: Buffer.from('["now","x"]').toString('base64url') })).toBe('INVALID_REQUEST');
  expect(await code({ runId: 'a\u0000' })).toBe('INVALID_REQUEST');
  expect(await code({ state: 99 as ApprovalState })).toBe('INVALID_REQUEST');
});
