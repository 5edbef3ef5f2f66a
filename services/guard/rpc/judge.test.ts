import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { decodeJwt } from 'jose';
import { BUILT_IN_RULES } from '#domain/verdict.ts';
import { GuardService, VerdictKind } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { connect } from '#platform/grpc/client.ts';
import { parseActionRecord } from '#platform/identity/action-record.ts';
import { canonicalJson, digestOf } from '#platform/identity/canonical-json.ts';
import { runGrantSigner } from '#platform/identity/grants.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type Bench, guardBench } from '#test/support/guard/bench.ts';
import { deskTools } from '#test/support/guard/desk.ts';

let bench: Bench;

beforeAll(async () => {
  bench = await guardBench();
}, 180_000);

afterAll(() => bench.stop(), 30_000);

const LIMITS = { modelCalls: 20, toolCalls: 50, toolCallsPerTurn: 10, tokens: 1_000_000, activeMs: 3_600_000 };
const limits = (narrower: Partial<typeof LIMITS>) => ({ limits: JSON.stringify({ ...LIMITS, ...narrower }) });
const read = { tool: 'read_note', args: { note_id: 'n1' } };

test('a turn is judged call by call, and all of it is stored with the verdicts', async () => {
  const run = await bench.run();
  const { calls, policySetHash } = await run.judge([
    read,
    { tool: 'write_note', args: { text: 'Hi', note_id: 'n2' } },
    { tool: 'delete_note', args: { note_id: 'n3' } },
    { tool: 'send_note', args: { note_id: 'n3', to: 'bob@client.example' } },
    { tool: 'format_disk', args: {} },
  ]);
  const of = (kind: VerdictKind, more: object) => expect.objectContaining({ verdict: kind, ...more });
  expect(calls).toEqual([
    of(VerdictKind.ALLOW, {
      callId: '1.0',
      effect: false,
      resourceKeys: ['note/n1'],
      catalog: 'desk',
      timeoutMs: 10_000,
    }),
    of(VerdictKind.ALLOW, { callId: '1.1', effect: true, resourceKeys: ['note/n2'], approvalId: '', tier: 0 }),
    of(VerdictKind.ASK, { callId: '1.2', effect: true, tier: 3, approvalId: expect.stringMatching(/^[\w-]{36}$/) }),
    of(VerdictKind.ASK, { callId: '1.3', tier: 3, expiresAt: expect.anything() }),
    of(VerdictKind.DENY, { callId: '1.4', code: 'TOOL_UNKNOWN', digest: '', effect: false }),
  ]);
  expect(policySetHash).toBe(digestOf(BUILT_IN_RULES));
  expect(await run.row()).toMatchObject({
    tool_calls: 4,
    open_approvals: 2,
    status: 'awaiting_approval',
    waits_until: expect.any(Date),
  });

  const rows = await run.rows('calls');
  expect(rows.map((row) => row.state)).toEqual(['judged', 'judged', 'judged', 'judged', 'denied']);
  for (const [index, row] of rows.slice(0, 4).entries()) {
    const record = parseActionRecord(row.action_record);
    expect(digestOf(row.action_record)).toBe(row.digest);
    expect(calls[index]?.digest).toBe(row.digest);
    expect(record).toMatchObject({
      kind: 'execute',
      tenant: run.tenant,
      run: run.id,
      call: `1.${index}`,
      user: 'ann@acme',
      catalog: 'desk',
      key: `${run.id}/1.${index}`,
      undoOf: null,
    });
    expect(row).toMatchObject({ key: record.key, tool_hash: record.toolHash, policy_set_hash: policySetHash });
    expect(row.args).toEqual(record.args);
    expect(row.sig).toBe(digestOf(canonicalJson({ tool: record.tool, args: record.args })).slice(0, 16));
  }
  expect(rows[4]).toMatchObject({ action_record: null, digest: null, key: null, verdict_code: 'TOOL_UNKNOWN' });

  const approvals = await run.rows('approvals');
  expect(approvals.map((row) => row.tool).toSorted()).toEqual(['delete_note', 'send_note']);
  const asked = approvals.find((row) => row.tool === 'delete_note');
  expect(asked).toMatchObject({
    state: 'open',
    tier: 3,
    call_id: '1.2',
    digest: calls[2]?.digest,
    preview_error: null,
  });
  expect(asked?.preview).toMatchObject({ summary: 'delete note n3', quantities: { 'rows.deleted': 1 } });
  expect(parseActionRecord(asked?.action_record).previewHash).toBe(digestOf(canonicalJson(asked?.preview)));
  expect(asked?.why).toEqual([expect.stringContaining('risk.destructive')]);

  const events = await run.rows('events');
  expect(events.map((row) => [row.kind, row.call_id])).toEqual([
    ['approval.asked', '1.2'],
    ['approval.asked', '1.3'],
    ['tool.denied', '1.4'],
  ]);
  expect(events[0]?.data).toMatchObject({ approval: asked?.id, digest: asked?.digest, summary: 'delete note n3' });
  const steps = await run.rows('steps');
  expect(steps).toHaveLength(1);
  expect(steps[0]).toMatchObject({ kind: 'tool_result', turn: 1, call_id: '1.4', ordinal: 4 });
  expect(steps[0]?.content).toMatchObject({ type: 'tool_result', callId: '1.4', providerId: 'toolu_4', isError: true });
  expect(JSON.parse(steps[0]?.content.text).error).toEqual({
    code: 'TOOL_UNKNOWN',
    message: expect.stringContaining('read_note'),
    tools: ['delete_note', 'pay_out', 'read_note', 'send_note', 'write_note'],
  });
});

test('calls that are allowed and wait for nobody are begun with their verdicts, once', async () => {
  const run = await bench.run();
  const write = (note_id: string) => ({ tool: 'write_note', args: { note_id, text: 'Hi' } });
  const proposed = [
    write('a'),
    write('a'),
    { tool: 'delete_note', args: { note_id: 'b' } },
    { tool: 'none' },
    read,
    read,
  ];
  const first = await run.judge([...proposed, read], 1, true);
  const leaves = first.calls.map((call) => call.begun);
  expect(leaves.map((leave) => leave?.attempt)).toEqual([1, undefined, undefined, undefined, 1, 1, undefined]);
  const rows = await run.rows('calls');
  expect(rows.map((row) => [row.state, row.attempts])).toEqual([
    ['started', 1],
    ['judged', 0],
    ['judged', 0],
    ['denied', 0],
    ['started', 1],
    ['started', 1],
    ['judged', 0],
  ]);
  expect(rows.map((row) => row.started_at !== null)).toEqual(rows.map((row) => row.state === 'started'));
  const events = (await run.rows('events')).filter((event) => event.kind === 'tool.started');
  expect(events.map((event) => event.call_id)).toEqual(['1.0', '1.4', '1.5']);
  expect(events[0]?.data).toEqual({ tool: 'write_note', catalog: 'desk', attempt: 1, approvedBy: 'policy' });
  const [leave] = leaves;
  expect(Buffer.from(leave?.actionRecord ?? []).equals(rows[0]?.action_record)).toBe(true);
  const granted = decodeJwt(leave?.executionGrants[0] ?? '');
  expect(granted).toMatchObject({
    aud: 'desk',
    call: '1.0',
    key: `${run.id}/1.0`,
    digest: rows[0]?.digest,
    attempt: 1,
  });
  expect((granted.exp ?? 0) - (granted.iat ?? 0)).toBeLessThanOrEqual(120);
  const again = await run.judge([...proposed, read], 1, true);
  expect(again.calls.map((call) => call.begun)).toEqual(proposed.concat(read).map(() => undefined));
  expect(again.calls).toEqual(first.calls.map(({ begun: _, ...call }) => expect.objectContaining(call)));
  const { callId = '', digest = '' } = first.calls[0] ?? {};
  expect(await bench.worker.authorize({ runGrant: run.runGrant, callId, digest })).toMatchObject({ attempt: 2 });
});

test.each([
  ['paused', { status: 'paused' }],
  ['being cancelled', { cancel_requested_by: 'op' }],
])('nothing of a run that is %s is begun with its verdict', async (_, columns) => {
  const run = await bench.run({ columns });
  const { calls } = await run.judge([read], 1, true);
  expect(calls).toMatchObject([{ verdict: VerdictKind.ALLOW }]);
  expect(calls[0]?.begun).toBeUndefined();
  expect(await run.rows('calls')).toMatchObject([{ state: 'judged', attempts: 0 }]);
});

test('what is too long to be answered with is not begun', async () => {
  const run = await bench.run();
  const long = { tool: 'write_note', args: { note_id: 'n', text: 'x'.repeat(300_000) } };
  const { calls } = await run.judge([long, read], 1, true);
  expect(calls.map((call) => call.begun !== undefined)).toEqual([false, true]);
});

test('the first verdicts of a turn win: a repeat returns them, whatever it proposes', async () => {
  const run = await bench.run();
  const first = await run.judge([{ tool: 'delete_note', args: { note_id: 'n1' } }, read]);
  expect(await run.judge([{ tool: 'delete_note', args: { note_id: 'n1' } }, read])).toEqual(first);
  expect(await run.judge([{ tool: 'delete_note', args: { note_id: 'OTHER' } }])).toEqual(first);
  expect(await run.rows('approvals')).toHaveLength(1);
});

test('20 judges at once agree, and the run is counted once', async () => {
  const run = await bench.run();
  const calls = (n: number) => [{ tool: 'delete_note', args: { note_id: `n${n}` } }, read, { tool: 'none' }];
  const all = await Promise.all(Array.from({ length: 20 }, (_, n) => run.judge(calls(n))));
  for (const each of all) expect(each).toEqual(all[0]);
  expect(await run.rows('calls')).toHaveLength(3);
  expect(await run.rows('approvals')).toHaveLength(1);
  expect(await run.rows('steps')).toHaveLength(1);
  expect(await run.row()).toMatchObject({ tool_calls: 2, open_approvals: 1 });
});

test('two turns judged at once both stay within the limit', async () => {
  const run = await bench.run({ columns: limits({ toolCalls: 3 }) });
  await Promise.all([run.judge([read, read], 1), run.judge([read, read], 2)]);
  const rows = await run.rows('calls');
  expect(rows.filter((row) => row.verdict === 'allow')).toHaveLength(3);
  expect(await run.row()).toMatchObject({ tool_calls: 3 });
});

test('a closed run is judged no more, but its stored verdicts can be read', async () => {
  const run = await bench.run();
  const first = await run.judge([read]);
  await bench.database.query("update steward.agent_runs set status = 'cancelled', closed_at = now() where id = $1", [
    run.id,
  ]);
  expect(await run.judge([read])).toEqual(first);
  expect(await stewardErrorOf(run.judge([read], 2))).toMatchObject({ code: 'WRONG_STATE' });
});

test('requests that are not well-formed are refused', async () => {
  const run = await bench.run();
  expect((await stewardErrorOf(run.judge([read], 0))).code).toBe('INVALID_REQUEST');
  expect((await stewardErrorOf(run.judge(Array.from({ length: 51 }, () => read)))).code).toBe('INVALID_REQUEST');
  expect((await stewardErrorOf(run.judge([{ ...read, providerId: 'a\u0000' }]))).code).toBe('INVALID_REQUEST');
  const wrongId = { callId: '1.1', tool: 'read_note', argsJson: '{}', providerId: 'p', malformed: '' };
  const request = { runGrant: run.runGrant, turn: 1, calls: [wrongId] };
  expect((await stewardErrorOf(bench.worker.judge(request))).code).toBe('INVALID_REQUEST');
  expect(await run.judge([])).toMatchObject({ calls: [] });
});

test('without a run grant of run-api, for this very run, nothing is judged', async () => {
  const run = await bench.run();
  const judge = (runGrant: string) => stewardErrorOf(bench.worker.judge({ runGrant, turn: 1, calls: [] }));
  expect((await judge('')).code).toBe('GRANT_INVALID');
  const { stranger, guard, runApi } = bench.keys;
  for (const { key } of [stranger, guard]) {
    expect((await judge(await runGrantSigner(key).sign(run.grant))).code).toBe('GRANT_INVALID');
  }
  const sign = (change: object) => runGrantSigner(runApi.key).sign({ ...run.grant, ...change });
  expect((await judge(await sign({ user: 'eve@acme' }))).code).toBe('GRANT_MISMATCH');
  expect((await judge(await sign({ agentHash: 'b'.repeat(64) }))).code).toBe('GRANT_MISMATCH');
  expect((await judge(await sign({ tenant: (await bench.run()).tenant }))).code).toBe('NOT_FOUND');
  expect((await judge(await sign({ run: 'nothing-there' }))).code).toBe('NOT_FOUND');
});

test('only workers may ask the guard', async () => {
  const run = await bench.run();
  const token = () => bench.keys.issuer.token({ tenant: run.tenant, subject: 'op', roles: ['admin', 'approver'] });
  const { client, close } = connect(GuardService, { address: bench.address, token });
  const request = { runGrant: run.runGrant, turn: 1, calls: [] };
  expect((await stewardErrorOf(client.judge(request))).code).toBe('ROLE_MISSING');
  close();
});

test('a catalog that is away is asked again later: nothing is stored, and nothing is allowed', async () => {
  const run = await bench.run();
  await bench.replaceDesk();
  // What is kept of it still serves tools that need no preview.
  bench.later(31_000);
  expect((await run.judge([read])).calls[0]?.verdict).toBe(VerdictKind.ALLOW);
  expect(await stewardErrorOf(run.judge([read, { tool: 'delete_note', args: { note_id: 'n' } }], 2))).toMatchObject({
    code: 'CATALOG_UNAVAILABLE',
  });
  bench.later(300_000);
  expect((await stewardErrorOf(run.judge([read], 2))).code).toBe('CATALOG_UNAVAILABLE');
  expect(await run.rows('calls')).toHaveLength(1);
  expect(await run.row()).toMatchObject({ tool_calls: 1, open_approvals: 0 });
  await bench.replaceDesk(deskTools('2'));
  bench.later(31_000);
  expect((await untilAnswered(() => run.judge([read], 2))).calls[0]?.code).toBe('TOOL_CHANGED');
});

/** A restarted catalog is found within a second or two. */
async function untilAnswered<T>(work: () => Promise<T>): Promise<T> {
  const deadline = Date.now() + 15_000;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (Date.now() > deadline) throw error;
      await delay(50);
    }
  }
}

test('arguments as deep as arguments may be are judged, and stand in the audit log', async () => {
  const run = await bench.run();
  const deep = (levels: number): object => (levels === 0 ? {} : { a: deep(levels - 1) });
  for (const [at, levels] of [60, 61, 62, 63].entries()) {
    const { calls } = await run.judge([{ tool: 'format_disk', args: deep(levels) as Record<string, unknown> }], at + 1);
    expect(calls[0]?.verdict).toBe(VerdictKind.DENY);
  }
  expect((await run.rows('audit')).filter(({ action }) => action === 'verdict.deny')).toHaveLength(4);
});
