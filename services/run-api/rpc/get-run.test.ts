import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type RunApiBench, runApiBench } from '#test/support/run-api.ts';

let bench: RunApiBench;
let tenant: string;
let run: string;

const change = (id: string, size = 1) => ({
  summary: `shred ${id}`,
  fields: Array.from({ length: size }, (_, i) => ({
    record: `paper/${id}`,
    field: `f${i}`,
    before: { a: 1.5 },
    after: null,
  })),
  quantities: { 'rows.deleted': 1 },
});

interface Call {
  readonly call: string;
  readonly turn: number;
  readonly ordinal: number;
  readonly state: string;
  readonly verdict?: string;
  readonly effect?: boolean;
  readonly change?: unknown;
  readonly approval?: string;
}

async function addCall(to: string, call: Call): Promise<void> {
  await bench.database.query(
    `insert into steward.agent_run_tool_invocations (tenant, run_id, call_id, turn, ordinal, provider_id, catalog, tool,
       tool_hash, args, digest, key, sig, verdict, why, policy_set_hash, has_effect, approval_id, state, attempts, result,
       change, undoable, started_at, ended_at)
     values ($1, $2, $3, $4, $5::int, 'p', 'desk', 'shred', 'h', '{"b":1,  "a":1e2}', 'd', $2 || '/' || $3, 's', $6,
       '{risk.destructive}', 'p1', $7, $8, $9, 1, '{"done":  true}', $10, true,
       now() + interval '1 second' * $5::int, now())`,
    [
      tenant,
      to,
      call.call,
      call.turn,
      call.ordinal,
      call.verdict ?? 'allow',
      call.effect ?? true,
      call.approval ?? null,
      call.state,
      call.change === undefined ? null : JSON.stringify(call.change),
    ],
  );
}

async function addApproval(to: string, call: string, state: string): Promise<string> {
  const id = `a-${to}-${call}`;
  await bench.database.query(
    `insert into steward.approvals (tenant, id, run_id, call_id, agent, acting_user, catalog, tool, action_record, digest,
       preview, tier, why, policy_set_hash, state, expires_at)
     values ($1, $2, $3, $4, 'helper', 'ann', 'desk', 'shred', '', 'd', $5, 3, '{}', 'p', $6, now() + interval '1 day')`,
    [tenant, id, to, call, JSON.stringify(change(`preview of ${call}`)), state],
  );
  if (state !== 'approved') return id;
  await bench.database.query(
    `insert into steward.approval_decisions (tenant, id, approval_id, run_id, call_id, answer, digest, decided_by, roles,
       reason, request_id, via) values ($1, $2, $2, $3, $4, 'approve', 'd', 'bea@acme', '{approver}', 'fine', $2, 'decide')`,
    [tenant, id, to, call],
  );
  return id;
}

async function addCost(to: string, turn: number, settled: number | null): Promise<void> {
  await bench.database.query(
    `insert into steward.agent_run_costs (tenant, run_id, attempt_id, turn, model, state, month_account,
       reserved_micro_usd, settled_micro_usd, deadline_at)
     values ($1, $2, gen_random_uuid()::text, $3, 'offline-1', $4, 'm', 900, $5, now())`,
    [tenant, to, turn, settled === null ? 'reserved' : 'settled', settled],
  );
}

beforeAll(async () => {
  bench = await runApiBench();
  tenant = await bench.database.tenant();
  run = await bench.database.run(tenant, { status: 'awaiting_approval', open_approvals: 1, event_seq: 7, turns: 1 });
  await bench.database.query("insert into steward.ledger_accounts values ($1, 'run/' || $2, 500000, 1200, 3400)", [
    tenant,
    run,
  ]);
}, 120_000);

afterAll(() => bench.stop(), 60_000);

test('a run with its cost, its open approvals and its effects, each with who approved it', async () => {
  const approved = await addApproval(run, '1.1', 'approved');
  const unknown = await addApproval(run, '1.2', 'approved');
  const open = await addApproval(run, '1.4', 'open');
  await addCall(run, { call: '1.0', turn: 1, ordinal: 0, state: 'done', change: change('1') });
  await addCall(run, {
    call: '1.1',
    turn: 1,
    ordinal: 1,
    state: 'done',
    verdict: 'ask',
    approval: approved,
    change: change('2'),
  });
  await addCall(run, { call: '1.2', turn: 1, ordinal: 2, state: 'outcome_unknown', verdict: 'ask', approval: unknown });
  await addCall(run, { call: '1.3', turn: 1, ordinal: 3, state: 'refused' });
  await addCall(run, { call: '1.4', turn: 1, ordinal: 4, state: 'judged', verdict: 'ask', approval: open });
  await addCall(run, { call: '1.5', turn: 1, ordinal: 5, state: 'done', effect: false });
  const answer = await bench.as({ tenant }).runs.getRun({ runId: run });
  expect(answer.run).toMatchObject({
    status: RunStatus.AWAITING_APPROVAL,
    cost: { budgetMicroUsd: 500_000n, reservedMicroUsd: 1_200n, settledMicroUsd: 3_400n },
    openApprovals: [open],
    head: 7n,
  });
  expect(answer.effects).toMatchObject([
    {
      callId: '1.0',
      approvedBy: 'policy',
      certain: true,
      change: { summary: 'shred 1', quantities: { 'rows.deleted': 1n } },
    },
    { callId: '1.1', approvedBy: 'bea@acme', certain: true, undoable: true, digest: 'd' },
    { callId: '1.2', approvedBy: 'bea@acme', certain: false, change: { summary: 'shred preview of 1.2' } },
  ]);
  expect(answer.effects[0]?.change?.fields).toMatchObject([
    { record: 'paper/1', field: 'f0', beforeJson: '{"a":1.5}', afterJson: 'null' },
  ]);
});

test('many large effects still fit one answer', async () => {
  const large = await bench.database.run(tenant);
  for (let i = 0; i < 12; i += 1) {
    await addCall(large, { call: `1.${i}`, turn: 1, ordinal: i, state: 'done', change: change(`${i}`, 1_500) });
  }
  const { effects } = await bench.as({ tenant }).runs.getRun({ runId: large });
  expect(effects).toHaveLength(12);
  expect(effects[0]?.change?.fields).toHaveLength(1_500);
  expect(effects.at(-1)?.change).toMatchObject({ summary: 'shred 11', fields: [] });
});

test('a tool call whole, with its exact texts and its share of the turn', async () => {
  await addCost(run, 1, 1_000);
  await addCost(run, 1, 3);
  await addCost(run, 1, null);
  await addCost(run, 2, 500);
  const { runs } = bench.as({ tenant });
  const { call } = await runs.getToolCall({ runId: run, callId: '1.1' });
  expect(call).toMatchObject({
    tool: 'shred',
    catalog: 'desk',
    argsJson: '{"b":1,  "a":1e2}',
    resultJson: '{"done":  true}',
    verdict: 'ask',
    why: ['risk.destructive'],
    decidedBy: 'bea@acme',
    decisionReason: 'fine',
    state: 'done',
    key: `${run}/1.1`,
    policySetHash: 'p1',
    preview: { summary: 'shred preview of 1.1' },
    change: { summary: 'shred 2' },
  });
  const shares = await Promise.all(
    ['1.0', '1.1', '1.2', '1.3', '1.4', '1.5'].map(
      async (callId) => (await runs.getToolCall({ runId: run, callId })).call,
    ),
  );
  // 1,003 over six calls: nothing is lost, nothing counted twice.
  expect(shares.map((each) => each?.costMicroUsd)).toEqual([168n, 167n, 167n, 167n, 167n, 167n]);
  expect((await stewardErrorOf(runs.getToolCall({ runId: run, callId: '9.9' }))).code).toBe('NOT_FOUND');
  for (const callId of ['', '1', '0.1', '1.0; drop']) {
    expect((await stewardErrorOf(runs.getToolCall({ runId: run, callId }))).code).toBe('INVALID_REQUEST');
  }
});

test('steps come in order, in pages that fit, byte for byte', async () => {
  const long = await bench.database.run(tenant);
  const add = (number: number, content: string) =>
    bench.database.query(
      `insert into steward.agent_run_steps (tenant, run_id, number, kind, turn, call_id, ordinal, content, cost_micro_usd)
       values ($1, $2, $3, 'note', $3, null, 0, $4, 5)`,
      [tenant, long, number, content],
    );
  await add(1, '{"b": 1.0,"a":1e3}');
  for (let i = 2; i <= 9; i += 1) await add(i, JSON.stringify({ text: 'x'.repeat(200_000) }));
  await add(10, JSON.stringify({ text: 'x'.repeat(900_000) }));
  await add(11, '"last"');
  const { runs } = bench.as({ tenant });
  const seen: { readonly number: number; readonly contentJson: string }[] = [];
  for (let pages = 0; pages < 20; pages += 1) {
    const { steps, more } = await runs.listSteps({ runId: long, afterStep: seen.at(-1)?.number ?? 0 });
    seen.push(...steps);
    if (!more) break;
    expect(steps.length).toBeGreaterThan(0);
  }
  expect(seen.map((step) => step.number)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  expect(seen[0]?.contentJson).toBe('{"b": 1.0,"a":1e3}');
  expect(seen[9]?.contentJson).toMatch(/"left_out":true,"bytes":900/);
  expect((await runs.listSteps({ runId: long, pageSize: 1 })).steps).toHaveLength(1);
  for (const bad of [{ afterStep: -1 }, { pageSize: 201 }, { runId: '' }]) {
    expect((await stewardErrorOf(runs.listSteps({ runId: long, ...bad }))).code).toBe('INVALID_REQUEST');
  }
});
