import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { Answer } from '#gen/steward/guard/v1/approval_service_pb.ts';
import type { JudgedCall } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { KillSwitchService, SwitchAction, SwitchScope } from '#gen/steward/guard/v1/kill_switch_service_pb.ts';
import { connect } from '#platform/grpc/client.ts';
import type { Role } from '#platform/identity/principal.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type Bench, type BenchRun, guardBench } from '#test/support/guard/bench.ts';
import { sweepOnce } from '../stopping/sweep.ts';

let bench: Bench;

beforeAll(async () => {
  bench = await guardBench();
}, 180_000);

afterAll(() => bench.stop(), 30_000);

function operator(tenant: string, roles: readonly Role[] = ['operator']) {
  const token = () => bench.keys.issuer.token({ tenant, subject: 'olga@acme', roles });
  const connection = connect(KillSwitchService, { address: bench.address, token, deadlineMs: 30_000 });
  bench.onStop(connection.close);
  return connection.client;
}

const authorize = (run: BenchRun, call: Pick<JudgedCall, 'callId' | 'digest'>) =>
  bench.worker.authorize({ runGrant: run.runGrant, callId: call.callId, digest: call.digest });
const write = { tool: 'write_note', args: { note_id: 'n1', text: 'Hi' } };
const read = { tool: 'read_note', args: { note_id: 'n1' } };
const order = (scope: SwitchScope, target = '', more: object = {}) => ({
  requestId: randomUUID(),
  scope,
  target,
  reason: 'ordered a million dollars',
  ...more,
});
const codesOf = (calls: readonly JudgedCall[]) => calls.map((call) => call.code);
const auditOf = (tenant: string) =>
  bench.database.query<{ action: string; data: Record<string, unknown> }>(
    "select action, data from steward.audit_log where tenant = $1 and action like 'switch.%' order by id",
    [tenant],
  );

test('each scope refuses what is in it, at the judge and at the last look, and nothing else', async () => {
  const run = await bench.run();
  const { calls } = await run.judge([write]);
  const other = await bench.run();
  const { calls: others } = await other.judge([write]);
  const client = operator(run.tenant);
  for (const [scope, target] of [
    [SwitchScope.TOOL, 'write_note'],
    [SwitchScope.AGENT, 'helper'],
    [SwitchScope.USER, 'ann@acme'],
    [SwitchScope.RUN, run.id],
    [SwitchScope.TENANT, ''],
  ] as const) {
    // To pause, so that the run is there for the next scope.
    const action = scope === SwitchScope.TOOL ? SwitchAction.UNSPECIFIED : SwitchAction.PAUSE;
    const { switch: set } = await client.kill(order(scope, target, { action }));
    expect(await stewardErrorOf(authorize(run, calls[0] as JudgedCall))).toMatchObject({ code: 'KILLED' });
    await client.unkill({ switchId: set?.id ?? '', reason: 'over', resume: true });
  }
  await bench.database.query("update steward.agent_runs set status = 'running' where id = $1", [run.id]);
  await authorize(run, calls[0] as JudgedCall);
  await authorize(other, others[0] as JudgedCall);
  const { switch: tool } = await client.kill(order(SwitchScope.TOOL, 'write_note'));
  const judged = await run.judge([write, read], 2);
  expect(codesOf(judged.calls)).toEqual(['KILLED', '']);
  const again = await client.kill({ ...order(SwitchScope.TOOL, 'write_note'), requestId: tool?.id ?? '' });
  expect(again.switch?.id).toBe(tool?.id);
  expect((await auditOf(run.tenant)).filter((row) => row.action === 'switch.kill')).toHaveLength(6);
}, 60_000);

test('runs of the scope are told once: cancelled, their questions void, and what was approved does not start', async () => {
  const run = await bench.run();
  const approved = await run.ask();
  await bench.person(run.tenant, 'bea@acme', ['approver']).decide({
    requestId: randomUUID(),
    decision: { approvalId: approved.approvalId, answer: Answer.APPROVE, digest: approved.digest, reason: '' },
  });
  const open = await run.ask({ note_id: 'n2' }, 2);
  const queued = await bench.run({ tenant: run.tenant, columns: { status: 'queued', workflow_started_at: null } });
  const client = operator(run.tenant);
  const { switch: set, stopped } = await client.kill(order(SwitchScope.TENANT));
  expect(stopped).toMatchObject({ runsCancelled: 2, approvalsVoided: 1, runsUnconfirmed: 1 });
  expect(await run.row()).toMatchObject({ cancel_requested_by: 'olga@acme' });
  expect(await queued.row()).toMatchObject({ status: 'cancelled' });
  expect((await run.rows('outbox')).map((row) => row.kind)).toContain('cancel');
  // Its own row says so too by now, and says it first.
  expect(await stewardErrorOf(authorize(run, approved))).toMatchObject({ code: 'CANCELLED' });
  const late = bench.person(run.tenant, 'bea@acme', ['approver']).decide({
    requestId: randomUUID(),
    decision: { approvalId: open.approvalId, answer: Answer.APPROVE, digest: open.digest, reason: '' },
  });
  expect(await stewardErrorOf(late)).toMatchObject({ code: 'APPROVAL_VOID' });
  const { switch: after } = await client.getSwitch({ switchId: set?.id ?? '' });
  expect(after?.toldAt).toBeDefined();
}, 60_000);

test('a call that was let begin before the switch is counted, and nothing begins while it is being set', async () => {
  const run = await bench.run();
  const { calls } = await run.judge(
    Array.from({ length: 8 }, (_, at) => ({ tool: 'write_note', args: { note_id: `n${at}`, text: 'Hi' } })),
  );
  const client = operator(run.tenant);
  const [{ switch: set }, ...tried] = await Promise.all([
    client.kill(order(SwitchScope.TENANT)),
    ...calls.map((call) =>
      authorize(run, call).then(
        () => 'begun',
        (error: { code: string }) => error.code,
      ),
    ),
  ]);
  const rows = await bench.database.query<{ late: number }>(
    `select count(*)::int as late from steward.agent_run_tool_invocations i, steward.kill_switches s
      where i.run_id = $1 and s.id = $2 and i.started_at > s.set_at`,
    [run.id, set?.id],
  );
  expect(rows[0]?.late).toBe(0);
  expect(new Set(tried)).not.toContain('INTERNAL');
}, 60_000);

test('in safe mode reads go on and effects are refused, until it is off', async () => {
  const run = await bench.run();
  const { calls } = await run.judge([write, read]);
  const client = operator(run.tenant);
  const on = await client.setSafeMode({ on: true, reason: 'looking into it' });
  const same = await client.setSafeMode({ on: true, reason: 'again' });
  expect(same.switch?.id).toBe(on.switch?.id);
  expect(await stewardErrorOf(authorize(run, calls[0] as JudgedCall))).toMatchObject({ code: 'SAFE_MODE' });
  await authorize(run, calls[1] as JudgedCall);
  expect(codesOf((await run.judge([write, read], 2)).calls)).toEqual(['SAFE_MODE', '']);
  expect(await run.row()).toMatchObject({ status: 'running', cancel_requested_by: null });
  await client.setSafeMode({ on: false, reason: 'all is well' });
  await authorize(run, calls[0] as JudgedCall);
  expect((await client.setSafeMode({ on: false, reason: 'again' })).switch).toBeUndefined();
}, 60_000);

test('a switch of the product holds for every tenant and is the platform tenant’s alone', async () => {
  const run = await bench.run();
  const { calls } = await run.judge([write]);
  const client = operator(run.tenant);
  expect(await stewardErrorOf(client.kill(order(SwitchScope.PRODUCT)))).toMatchObject({ code: 'NOT_PERMITTED' });
  const foreign = order(SwitchScope.TENANT, '', { tenant: (await bench.run()).tenant });
  expect(await stewardErrorOf(client.kill(foreign))).toMatchObject({ code: 'NOT_PERMITTED' });
  expect((await auditOf(run.tenant)).map((row) => row.action)).toEqual(['switch.refused', 'switch.refused']);

  const platform = operator('platform');
  const { switch: set } = await platform.kill(order(SwitchScope.PRODUCT, '', { action: SwitchAction.PAUSE }));
  expect(await stewardErrorOf(authorize(run, calls[0] as JudgedCall))).toMatchObject({ code: 'KILLED' });
  const { switches } = await client.listSwitches({});
  expect(switches).toMatchObject([{ id: set?.id, reason: '', setBy: '', tenant: '' }]);
  const lift = { switchId: set?.id ?? '', reason: 'over' };
  expect(await stewardErrorOf(client.unkill(lift))).toMatchObject({ code: 'NOT_PERMITTED' });
  await platform.unkill({ ...lift, resume: true });
  expect(await run.row()).toMatchObject({ paused_by: null, status: 'pending' });
  await authorize(run, calls[0] as JudgedCall);
}, 60_000);

test('a run that two switches stand against goes on when the second is lifted, not the first', async () => {
  const run = await bench.run();
  const client = operator(run.tenant);
  const pausing = { action: SwitchAction.PAUSE };
  const { switch: first } = await client.kill(order(SwitchScope.AGENT, 'helper', pausing));
  const { switch: second } = await client.kill(order(SwitchScope.TENANT, '', pausing));
  const lift = (id: string | undefined) => client.unkill({ switchId: id ?? '', reason: 'over', resume: true });
  expect(await lift(first?.id)).toMatchObject({ resumed: 0 });
  expect(await run.row()).toMatchObject({ status: 'paused', paused_by: 'olga@acme' });
  expect(await lift(second?.id)).toMatchObject({ resumed: 1 });
  expect(await run.row()).toMatchObject({ paused_by: null });
  expect((await run.rows('outbox')).map(({ kind }) => kind)).toEqual(['pause', 'resume']);
}, 60_000);

test('an id that another tenant has used is refused as such, and a new one stops', async () => {
  const [one, other] = [await bench.run(), await bench.run()];
  const taken = { ...order(SwitchScope.TENANT), requestId: `INC-${randomUUID()}` };
  await operator(one.tenant).kill(taken);
  const error = await stewardErrorOf(operator(other.tenant).kill(taken));
  expect(error).toMatchObject({ code: 'REQUEST_ID_REUSED', message: expect.stringContaining('NOTHING WAS STOPPED') });
  await operator(other.tenant).kill({ ...taken, requestId: randomUUID() });
  expect(await other.row()).toMatchObject({ cancel_requested_by: 'olga@acme' });
}, 60_000);

test('what a guard that ended has left is told by the sweeper', async () => {
  const run = await bench.run();
  const id = randomUUID();
  await bench.database.query(
    `insert into steward.kill_switches (tenant, id, scope, mode, action, reason, set_by, set_at)
     values ($1, $2, 'tenant', 'kill', 'cancel', 'test', 'olga@acme', now() - interval '1 minute')`,
    [run.tenant, id],
  );
  await sweepOnce(bench.deps, new AbortController().signal);
  expect(await run.row()).toMatchObject({ cancel_requested_by: 'olga@acme' });
  await sweepOnce(bench.deps, new AbortController().signal);
  expect((await run.rows('outbox')).filter((row) => row.kind === 'cancel')).toHaveLength(1);
}, 60_000);

test('where switches cannot be read, nothing is allowed', async () => {
  const run = await bench.run();
  const { calls } = await run.judge([write]);
  await bench.database.query('revoke select on steward.kill_switches from steward_guard');
  try {
    await stewardErrorOf(authorize(run, calls[0] as JudgedCall));
    await stewardErrorOf(run.judge([write, read], 2));
    expect((await run.rows('calls')).map((row) => row.state)).toEqual(['judged']);
  } finally {
    await bench.database.query('grant select on steward.kill_switches to steward_guard');
  }
  await authorize(run, calls[0] as JudgedCall);
}, 60_000);

test('what is asked for must make sense', async () => {
  const client = operator(await bench.database.tenant());
  for (const wrong of [
    order(SwitchScope.UNSPECIFIED),
    order(SwitchScope.AGENT),
    order(SwitchScope.TENANT, 'helper'),
    order(SwitchScope.RUN, 'a\nb'),
    order(SwitchScope.TOOL, 'write_note', { action: SwitchAction.PAUSE }),
    order(SwitchScope.TENANT, '', { reason: ' ' }),
    order(SwitchScope.TENANT, '', { requestId: 'x' }),
  ]) {
    expect(await stewardErrorOf(client.kill(wrong))).toMatchObject({ code: 'INVALID_REQUEST' });
  }
  expect(await stewardErrorOf(client.unkill({ switchId: randomUUID(), reason: 'x' }))).toMatchObject({
    code: 'NOT_FOUND',
  });
  const reader = operator('t-any', ['approver']);
  expect(await stewardErrorOf(reader.listSwitches({}))).toMatchObject({ code: 'ROLE_MISSING' });
});
