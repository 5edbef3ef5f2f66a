import { timestampMs } from '@bufbuild/protobuf/wkt';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { GuardService } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { connect } from '#platform/grpc/client.ts';
import { parseActionRecord } from '#platform/identity/action-record.ts';
import { digestOf } from '#platform/identity/canonical-json.ts';
import { executionGrantVerifier } from '#platform/identity/grants.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type Bench, guardBench } from '#test/support/guard/bench.ts';
import { type UndoBench, undoOf } from '#test/support/guard/undo.ts';

let bench: Bench;

beforeAll(async () => {
  bench = await guardBench();
}, 180_000);

afterAll(() => bench.stop(), 30_000);

const authorizeUndo = ({ run, undo }: UndoBench, more: object = {}) =>
  bench.worker.authorizeUndo({ runGrant: run.runGrant, undoId: undo, callId: '1.0', ...more });
const codeOf = async (of: UndoBench, more: object = {}) => (await stewardErrorOf(authorizeUndo(of, more))).code;

test('grants one attempt of exactly this undo, always of the same record', async () => {
  const of = await undoOf(bench);
  const before = Date.now();
  const first = await authorizeUndo(of);
  expect(first).toMatchObject({ catalog: 'desk', attempt: 1 });
  const [call] = await of.run.rows('calls');
  expect(parseActionRecord(first.actionRecord)).toEqual({
    ...parseActionRecord(call?.action_record),
    kind: 'undo',
    key: `${of.run.id}/1.0/undo`,
    undoOf: `${of.run.id}/1.0`,
  });
  const digest = digestOf(first.actionRecord);
  const grant = await executionGrantVerifier(bench.keys.guard.jwks, 'desk').verify(first.executionGrants[0] ?? '');
  const { id: run, tenant } = of.run;
  expect(grant).toMatchObject({
    tenant,
    run,
    call: '1.0',
    key: `${run}/1.0/undo`,
    digest,
    tool: 'write_note',
    attempt: 1,
  });
  expect(grant.expiresAt.getTime() - grant.issuedAt.getTime()).toBeLessThanOrEqual(120_000);
  expect(grant.issuedAt.getTime()).toBeGreaterThanOrEqual(before - 1_000);
  expect(first.expiresAt && timestampMs(first.expiresAt)).toBe(grant.expiresAt.getTime());
  expect(await of.step()).toMatchObject({ state: 'pending', attempts: 1, digest, authorized_at: expect.any(Date) });
  const second = await authorizeUndo(of);
  expect(second).toMatchObject({ attempt: 2, actionRecord: first.actionRecord });
  expect(second.executionGrants).not.toEqual(first.executionGrants);
  // The catalog takes it.
  const request = { ...second, runGrant: of.run.runGrant, timeoutMs: 5_000 };
  expect(await of.catalogs.undo('desk', request, AbortSignal.timeout(5_000))).toMatchObject({ kind: 'receipt' });
});

test('nobody is granted an undo that run-api has not written down', async () => {
  const [one, other] = [await undoOf(bench), await undoOf(bench)];
  expect(await codeOf(one, { undoId: 'u-no-such-undo' })).toBe('NOT_FOUND');
  expect(await codeOf(one, { callId: '1.1' })).toBe('NOT_FOUND');
  expect(await codeOf(one, { callId: 'x' })).toBe('NOT_FOUND');
  // Of another run, and of another tenant.
  expect(await codeOf(one, { undoId: other.undo })).toBe('NOT_FOUND');
  expect(await codeOf(one, { runGrant: other.run.runGrant })).toBe('NOT_FOUND');
  expect(await codeOf(one, { runGrant: `${one.run.runGrant}x` })).toBe('GRANT_INVALID');
  const sibling = await undoOf(bench, { tenant: one.run.tenant });
  expect(await codeOf(one, { undoId: sibling.undo })).toBe('NOT_FOUND');
  expect(await one.step()).toMatchObject({ attempts: 0, digest: null });
});

test.each([
  ['an open run', 'agent_runs', 'closed_at = null', 'WRONG_STATE'],
  ['a step that has ended', 'agent_run_undo_steps', "state = 'undone'", 'WRONG_STATE'],
  ['an effect without undo', 'agent_run_tool_invocations', 'undoable = false', 'WRONG_STATE'],
  ['an effect nobody knows of', 'agent_run_tool_invocations', "state = 'outcome_unknown'", 'WRONG_STATE'],
  ['an edited record', 'agent_run_tool_invocations', `action_record = action_record || '\\x20'`, 'DIGEST_MISMATCH'],
  ['another tool in the row', 'agent_run_tool_invocations', "tool = 'delete_note'", 'DIGEST_MISMATCH'],
  ['another user in the row', 'agent_runs', "acting_user = 'eve@acme'", 'GRANT_MISMATCH'],
  ['a run without the tool', 'agent_runs', `tools = '{"desk": []}'`, 'TOOL_CHANGED'],
] as const)('%s is refused, and nothing is granted', async (_what, table, change, code) => {
  const of = await undoOf(bench);
  await of.set(table, change);
  expect(await codeOf(of)).toBe(code);
  expect(await of.step()).toMatchObject({ attempts: 0 });
});

test('only workers may ask, and only the guard says that it may be tried', async () => {
  const of = await undoOf(bench);
  const token = () => bench.keys.issuer.token({ tenant: of.run.tenant, subject: 'olga@acme', roles: ['admin'] });
  const person = connect(GuardService, { address: bench.address, token });
  const request = { runGrant: of.run.runGrant, undoId: of.undo, callId: '1.0' };
  expect((await stewardErrorOf(person.client.authorizeUndo(request))).code).toBe('ROLE_MISSING');
  person.close();
  const may = async (role: string, privilege: string) =>
    (
      await bench.database.query(
        `select column_name from information_schema.column_privileges
         where table_name = 'agent_run_undo_steps' and grantee = $1 and privilege_type = $2 order by 1`,
        [role, privilege],
      )
    ).map((row) => row.column_name);
  expect(await may('steward_guard', 'UPDATE')).toEqual(['attempts', 'authorized_at', 'digest']);
  expect(await may('steward_guard', 'INSERT')).toEqual([]);
  expect(await may('steward_worker', 'INSERT')).toEqual([]);
  expect(await may('steward_worker', 'UPDATE')).toEqual(['change', 'ended_at', 'error_code', 'error_message', 'state']);
  expect(await may('steward_run_api', 'UPDATE')).toEqual([]);
});
