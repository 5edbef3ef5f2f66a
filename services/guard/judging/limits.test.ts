import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { decodeJwt } from 'jose';
import { Answer } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { VerdictKind } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { LimitService } from '#gen/steward/guard/v1/limit_service_pb.ts';
import { type Client, connect } from '#platform/grpc/client.ts';
import type { Role } from '#platform/identity/principal.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type Bench, type BenchRun, guardBench } from '#test/support/guard/bench.ts';

let bench: Bench;

beforeAll(async () => {
  bench = await guardBench();
}, 180_000);

afterAll(() => bench.stop(), 30_000);

function limits(tenant: string, roles: readonly Role[] = ['admin']): Client<typeof LimitService> {
  const token = () => bench.keys.issuer.token({ tenant, subject: 'olga@acme', roles });
  const connection = connect(LimitService, { address: bench.address, token });
  bench.onStop(connection.close);
  return connection.client;
}

const destroy = (id: string) => ({ tool: 'delete_note', args: { note_id: id } });
const pay = (cents: unknown) => ({ tool: 'pay_out', args: { cents } });

async function approve(run: BenchRun, call: { readonly approvalId: string; readonly digest: string }): Promise<void> {
  await bench.person(run.tenant, 'bea@acme', ['approver']).decide({
    requestId: randomUUID(),
    decision: { approvalId: call.approvalId, answer: Answer.APPROVE, digest: call.digest, reason: '' },
  });
}

const authorize = (run: BenchRun, call: { readonly callId: string; readonly digest: string }) =>
  bench.worker.authorize({ runGrant: run.runGrant, callId: call.callId, digest: call.digest });
const windows = (run: BenchRun) =>
  bench.database.query<{ call_id: string; quantity: string; amount: string; state: string }>(
    'select call_id, quantity, amount, state from steward.quantity_windows where run_id = $1 order by call_id',
    [run.id],
  );

test('nothing is held while a person thinks; it is held once the call may begin, and once only', async () => {
  const run = await bench.run();
  const call = await run.ask();
  await approve(run, call);
  expect(await windows(run)).toEqual([]);
  await authorize(run, call);
  await authorize(run, call);
  expect(await windows(run)).toMatchObject([{ call_id: '1.0', quantity: 'rows.deleted', state: 'held' }]);
});

test('after five deletes of a user within an hour the sixth is denied and nobody is asked; a day later it is not', async () => {
  const tenant = await bench.database.tenant();
  for (let at = 0; at < 5; at += 1) {
    const run = await bench.run({ tenant });
    const call = await run.ask();
    await approve(run, call);
    await authorize(run, call);
  }
  const run = await bench.run({ tenant });
  const { calls } = await run.judge([destroy('n1')]);
  expect(calls[0]).toMatchObject({ verdict: VerdictKind.DENY, code: 'QUANTITY_LIMIT', approvalId: '' });
  expect(calls[0]?.reason).toContain('5 for this user within an hour, 0 left');
  const other = await bench.run({ tenant, columns: { acting_user: 'bob@acme' }, grant: { user: 'bob@acme' } });
  expect((await other.judge([destroy('n1')])).calls[0]?.verdict).toBe(VerdictKind.ASK);
  const later = (state: string) =>
    bench.database.query(
      `update steward.quantity_windows set reserved_at = reserved_at - interval '61 minutes', state = $2 where tenant = $1`,
      [tenant, state],
    );
  // What has not come to an end may still take place, however long ago it was let begin.
  await later('held');
  expect((await run.judge([destroy('n1')], 2)).calls[0]?.verdict).toBe(VerdictKind.DENY);
  await later('spent');
  expect((await run.judge([destroy('n1')], 3)).calls[0]?.verdict).toBe(VerdictKind.ASK);
});

test('a call that is let begin once more counts from then on', async () => {
  const run = await bench.run();
  const call = await run.ask();
  await approve(run, call);
  await authorize(run, call);
  await bench.database.query(
    `update steward.quantity_windows set reserved_at = reserved_at - interval '61 minutes' where run_id = $1`,
    [run.id],
  );
  await authorize(run, call);
  await bench.database.query(`update steward.quantity_windows set state = 'spent' where run_id = $1`, [run.id]);
  const [usage] = (await limits(run.tenant).getUsage({ actingUser: 'ann@acme' })).windows.filter(
    ({ limit }) => limit?.quantity === 'rows.deleted' && limit.scope === 'user-hour',
  );
  expect(usage).toMatchObject({ used: 1n, left: 4n });
});

test('what was approved is held against what others have spent meanwhile', async () => {
  const tenant = await bench.database.tenant();
  await limits(tenant).setLimit({ quantity: 'rows.deleted', scope: 'user-hour', amount: 1n });
  const runs = [await bench.run({ tenant }), await bench.run({ tenant })];
  const asked = [];
  for (const run of runs) {
    const call = await run.ask();
    await approve(run, call);
    asked.push({ run, call });
  }
  const came = await Promise.all(asked.map(({ run, call }) => authorize(run, call).then(() => 'begun', codeOf)));
  expect(came.toSorted()).toEqual(['QUANTITY_LIMIT', 'begun']);
});

test('calls of one turn are judged in order, each with what the earlier ones leave; the rest may begin at once', async () => {
  const run = await bench.run();
  await limits(run.tenant).setLimit({ quantity: 'payout.cents', scope: 'run', amount: 100n });
  const { calls } = await run.judge([pay(60), pay(50), pay(40), pay(1)], 1, true);
  expect(calls.map(({ code }) => code)).toEqual(['', 'QUANTITY_LIMIT', '', 'QUANTITY_LIMIT']);
  expect(await windows(run)).toMatchObject([
    { call_id: '1.0', amount: 60 },
    { call_id: '1.2', amount: 40 },
  ]);
});

test('a limit may ask in place of denying, and the approval lets the call pass', async () => {
  const run = await bench.run();
  await limits(run.tenant).setLimit({
    quantity: 'payout.cents',
    scope: 'action',
    amount: 10n,
    outcome: 'ask',
    tier: 2,
  });
  const { calls } = await run.judge([pay(10), pay(11)], 1, true);
  const [small, large] = calls;
  expect([small?.verdict, large?.verdict, large?.tier]).toEqual([VerdictKind.ALLOW, VerdictKind.ASK, 2]);
  if (!large) throw new Error('no call');
  expect((await stewardErrorOf(authorize(run, large))).code).toBe('APPROVAL_MISSING');
  await approve(run, large);
  await authorize(run, large);
  expect(await windows(run)).toHaveLength(2);
});

test('a limit that wants two persons is lifted by nobody alone, and nobody is asked', async () => {
  const run = await bench.run();
  await limits(run.tenant).setLimit({
    quantity: 'payout.cents',
    scope: 'action',
    amount: 10n,
    outcome: 'ask',
    tier: 3,
  });
  await bench.database.query('update steward.quantity_limits set tier = 4 where tenant = $1', [run.tenant]);
  const { calls } = await run.judge([pay(11)]);
  expect(calls[0]).toMatchObject({ verdict: VerdictKind.DENY, code: 'QUANTITY_LIMIT', approvalId: '' });
});

test('an approver who was not told of a limit has not lifted it', async () => {
  const tenant = await bench.database.tenant();
  const limit = { quantity: 'rows.deleted', scope: 'user-hour', amount: 1n, outcome: 'ask', tier: 3 };
  await limits(tenant).setLimit(limit);
  const asked = [];
  for (let at = 0; at < 2; at += 1) {
    const run = await bench.run({ tenant });
    const call = await run.ask();
    await approve(run, call);
    asked.push({ run, call });
  }
  const [first, second] = asked;
  if (!first || !second) throw new Error('no calls');
  await authorize(first.run, first.call);
  expect((await stewardErrorOf(authorize(second.run, second.call))).code).toBe('APPROVAL_MISSING');
  // Asked about anew, the limit stands in the question, and its answer lifts it.
  const told = await second.run.ask({ note_id: 'n2' }, 2);
  await approve(second.run, told);
  await authorize(second.run, told);
});

test('a batch limit of nothing holds for a single call', async () => {
  const run = await bench.run();
  await limits(run.tenant).setLimit({ quantity: 'batch.destructive', scope: 'turn', amount: 0n });
  const { calls } = await run.judge([{ tool: 'send_note', args: { note_id: 'n1', to: 'bob@client.example' } }]);
  expect(calls[0]).toMatchObject({ verdict: VerdictKind.DENY, code: 'QUANTITY_LIMIT' });
});

test('leave to execute says what may be spent at most', async () => {
  const run = await bench.run();
  const { calls } = await run.judge([pay(60)], 1, true);
  const token = calls[0]?.begun?.executionGrants[0] ?? '';
  expect(decodeJwt(token).most).toEqual({ 'payout.cents': 60 });
});

test('sums beyond all numbers pass every limit and break nothing', async () => {
  const run = await bench.run();
  await limits(run.tenant).setLimit({ quantity: 'payout.cents', scope: 'tenant-day', amount: 100n });
  await bench.database.query(
    `insert into steward.quantity_windows (tenant, run_id, call_id, quantity, amount, overage, state, acting_user, agent, reserved_at)
     select $1, $2, 'x.' || n, 'payout.cents', 9007199254740991, 9007199254740991, 'spent', 'ann@acme', 'helper', now()
     from generate_series(1, 3) n`,
    [run.tenant, run.id],
  );
  expect((await run.judge([pay(1)])).calls[0]?.code).toBe('QUANTITY_LIMIT');
});

test('many destructive calls in one turn are all asked for as one batch', async () => {
  const run = await bench.run();
  const ids = Array.from({ length: 6 }, (_, at) => destroy(`n${at}`));
  await limits(run.tenant).setLimit({ quantity: 'rows.deleted', scope: 'user-hour' });
  await run.judge(ids);
  const why = (await run.rows('approvals')).map((row) => (row.why as string[]).at(-1));
  expect(new Set(why)).toEqual(new Set([expect.stringContaining('limit.batch.destructive/turn: 6')]));
  const few = await bench.run({ tenant: run.tenant });
  await few.judge(ids.slice(0, 5));
  expect(JSON.stringify(await few.rows('approvals'))).not.toContain('batch.destructive');
});

test('a call whose spending cannot be told is denied', async () => {
  const run = await bench.run({
    pins: (pins) => pins.map((tool) => (tool.name === 'write_note' ? { ...tool, quantities: ['stamps'] } : tool)),
  });
  const { calls } = await run.judge([{ tool: 'write_note', args: { note_id: 'n1', text: 'Hi' } }]);
  expect(calls[0]).toMatchObject({ verdict: VerdictKind.DENY, code: 'QUANTITY_UNKNOWN' });
});

test('limits are the tenant’s data: set, listed, removed, audited, and its admins’ alone', async () => {
  const tenant = await bench.database.tenant();
  const client = limits(tenant);
  const { limits: defaults } = await client.listLimits({});
  expect(defaults.map(({ quantity, scope, setBy }) => [quantity, scope, setBy])).toContainEqual([
    'rows.deleted',
    'user-hour',
    '',
  ]);
  await client.setLimit({ quantity: 'rows.deleted', scope: 'user-hour', amount: 7n });
  const [own] = (await client.listLimits({})).limits.filter(({ setBy }) => setBy !== '');
  expect(own).toMatchObject({ quantity: 'rows.deleted', amount: 7n, outcome: 'deny', setBy: 'olga@acme' });
  expect((await client.removeLimit({ quantity: 'rows.deleted', scope: 'user-hour' })).limit?.amount).toBe(5n);
  const again = client.removeLimit({ quantity: 'rows.deleted', scope: 'user-hour' });
  expect((await stewardErrorOf(again)).code).toBe('NOT_FOUND');
  const audit = await bench.database.query('select action from steward.audit_log where tenant = $1 order by id', [
    tenant,
  ]);
  expect(audit).toEqual([{ action: 'limit.set' }, { action: 'limit.remove' }]);
  for (const wrong of [
    { quantity: 'emails', scope: 'turn', amount: 1n },
    { quantity: 'emails', scope: 'week', amount: 1n },
    { quantity: 'E-mails', scope: 'run', amount: 1n },
    { quantity: 'emails', scope: 'run', amount: -1n },
    { quantity: 'emails', scope: 'run', amount: 1n, tier: 2 },
    { quantity: 'emails', scope: 'run', amount: 1n, outcome: 'ask', tier: 4 },
  ]) {
    expect((await stewardErrorOf(client.setLimit(wrong))).code).toBe('INVALID_REQUEST');
  }
  const operator = limits(tenant, ['operator']);
  expect((await stewardErrorOf(operator.setLimit({ quantity: 'emails', scope: 'run', amount: 1n }))).code).toBe(
    'ROLE_MISSING',
  );
  const [usage] = (await operator.getUsage({ actingUser: 'ann@acme' })).windows.filter(
    ({ limit }) => limit?.quantity === 'rows.deleted',
  );
  expect(usage).toMatchObject({ used: 0n, left: 5n, limit: { scope: 'user-hour' } });
});

const codeOf = (error: unknown): Promise<string> => stewardErrorOf(Promise.reject(error)).then(({ code }) => code);
