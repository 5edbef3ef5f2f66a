import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { runAccount } from '#domain/ids.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { HELPER, type RunApiBench, runApiBench } from '#test/support/run-api.ts';

let bench: RunApiBench;
let tenant: string;

beforeAll(async () => {
  bench = await runApiBench();
  tenant = await bench.tenant();
}, 120_000);

afterAll(() => bench.stop(), 60_000);

async function close(run: string, columns: Readonly<Record<string, unknown>> = {}): Promise<void> {
  await bench.database.query(
    "update steward.agent_runs set status = 'completed', closed_at = now(), step_seq = 7 where id = $1",
    [run],
  );
  for (const [name, value] of Object.entries(columns)) {
    await bench.database.query(`update steward.agent_runs set ${name} = $2 where id = $1`, [run, value]);
  }
}

async function closed(more: Record<string, unknown> = {}, columns: Readonly<Record<string, unknown>> = {}) {
  const run = await bench.start(tenant, more);
  await close(run.id, columns);
  return run.id;
}

async function row(run: string) {
  const [found] = await bench.database.query(
    `select r.*, l.limit_micro_usd from steward.agent_runs r join steward.ledger_accounts l on l.id = $2 where r.id = $1`,
    [run, runAccount(run)],
  );
  return found;
}

const refused = async (continues: string, more: Record<string, unknown> = {}) =>
  await stewardErrorOf(bench.start(tenant, { continues, ...more }));

test('a run goes on with the conversation of a closed one, which stays as it was', async () => {
  const first = await closed();
  const before = await row(first);
  const second = await bench.start(tenant, { continues: first, requestId: 'go-on' });
  expect(second.continues).toBe(first);
  expect(await row(second.id)).toMatchObject({ earlier_runs: [first], earlier_steps: [7], prefix_from: 0 });
  await close(second.id, { step_seq: 3 });
  const third = await bench.start(tenant, { continues: second.id });
  expect(await row(third.id)).toMatchObject({ earlier_runs: [first, second.id], earlier_steps: [7, 3] });
  expect(await row(first)).toEqual(before);
  // Another one may go on from the same place.
  const fork = await bench.start(tenant, { continues: first });
  expect(await row(fork.id)).toMatchObject({ earlier_runs: [first] });
  const [event] = await bench.database.query(
    "select data from steward.agent_run_events where run_id = $1 and kind = 'run.created'",
    [second.id],
  );
  expect(event?.data).toMatchObject({ continues: first });
  // It is part of what the request id stands for.
  expect(await refused(second.id, { requestId: 'go-on' })).toMatchObject({ code: 'REQUEST_ID_REUSED' });
});

test('it gets what the agent has, within what the one before was given, and never more', async () => {
  const narrowing = {
    tools: ['look', 'note'],
    budgetMicroUsd: 200_000n,
    resources: ['order/1', 'order/2'],
    limits: { modelCalls: 5 },
  };
  const first = await closed({ narrowing });
  await bench.database.query(
    `insert into steward.ledger_entries (tenant, account, kind, amount_micro_usd, raise_id) values ($1, $2, 'raise', 1000000, 'r')`,
    [tenant, runAccount(first)],
  );
  await bench.database.query('update steward.ledger_accounts set limit_micro_usd = 1200000 where id = $1', [
    runAccount(first),
  ]);
  const same = await bench.start(tenant, { continues: first });
  expect(await row(same.id)).toMatchObject({
    tools: { desk: ['look', 'note'] },
    resources: ['order/1', 'order/2'],
    limits: { modelCalls: 5, toolCalls: 20 },
    limit_micro_usd: 200_000,
  });
  const less = {
    tools: ['look'],
    budgetMicroUsd: 100_000n,
    resources: ['order/2'],
    limits: { modelCalls: 9, toolCalls: 2 },
  };
  const narrower = await bench.start(tenant, { continues: first, narrowing: less });
  expect(await row(narrower.id)).toMatchObject({
    tools: { desk: ['look'] },
    resources: ['order/2'],
    limits: { modelCalls: 5, toolCalls: 2 },
    limit_micro_usd: 100_000,
    // Other tools stand before the conversation than before: its thinking is not sent back.
    prefix_from: 7,
  });
  for (const [wider, field] of [
    [{ tools: ['shred'] }, 'narrowing.tools'],
    [{ budgetMicroUsd: 200_001n }, 'narrowing.budget_micro_usd'],
    [{ resources: ['order/3'] }, 'narrowing.resources'],
  ] as const) {
    const error = await refused(first, { narrowing: wider });
    expect(error).toMatchObject({ code: 'INVALID_REQUEST', message: expect.stringContaining(`run ${first}`) });
    expect(error.details).toMatchObject({ field });
  }
});

test('a newer version of the agent applies, but brings no tools into an old conversation', async () => {
  const own = await bench.tenant();
  const admin = bench.as({ tenant: own }).admin;
  await admin.applyAgent({ yaml: HELPER.replace('[look, note, shred]', '[look]') });
  const first = (await bench.start(own)).id;
  await close(first);
  await admin.applyAgent({ yaml: HELPER.replace('$0.50', '$0.10').replace('tool_calls: 20', 'tool_calls: 3') });
  const second = await bench.start(own, { continues: first });
  expect(await row(second.id)).toMatchObject({
    tools: { desk: ['look'] },
    limits: { toolCalls: 3 },
    limit_micro_usd: 100_000,
    prefix_from: 7,
  });
});

test('open runs, those of other agents, users and tenants, and those nobody may see are not continued', async () => {
  const open = await bench.start(tenant);
  expect(await refused(open.id)).toMatchObject({
    code: 'WRONG_STATE',
    message: expect.stringContaining('Send it a message'),
  });
  await bench.as({ tenant }).admin.applyAgent({ yaml: HELPER.replace('name: helper', 'name: other') });
  const other = await closed({ agent: 'other' });
  expect(await refused(other)).toMatchObject({
    code: 'INVALID_REQUEST',
    message: expect.stringContaining('agent other'),
  });
  const bob = (
    await bench.as({ tenant, subject: 'bob@acme', roles: ['user'] }).runs.startRun({
      requestId: 'b',
      agent: 'helper',
      input: 'Help.',
    })
  ).run?.id as string;
  await close(bob);
  expect(await refused(bob)).toMatchObject({ code: 'NOT_PERMITTED' });
  const eve = bench.as({ tenant, subject: 'eve@acme', roles: ['user'] }).runs;
  const unseen = eve.startRun({ requestId: 'e', agent: 'helper', input: 'x', continues: bob });
  expect(await stewardErrorOf(unseen)).toMatchObject({ code: 'NOT_FOUND' });
  const elsewhere = await bench.tenant();
  expect(await stewardErrorOf(bench.start(elsewhere, { continues: bob }))).toMatchObject({ code: 'NOT_FOUND' });
  expect(await refused('r'.repeat(20))).toMatchObject({ code: 'NOT_FOUND' });
  expect(await refused('x')).toMatchObject({ code: 'INVALID_REQUEST', message: expect.stringContaining('continues') });
});

test('what was stopped as unusual does not go on before somebody has looked', async () => {
  const odd = await closed();
  await bench.database.query(
    `insert into steward.investigations (tenant, run_id, reasons, evidence) values ($1, $2, array['anomaly'], '[]')
     on conflict (run_id) do update set reasons = excluded.reasons, state = 'open', closed_at = null`,
    [tenant, odd],
  );
  expect(await refused(odd)).toMatchObject({ code: 'WRONG_STATE', message: expect.stringContaining('investigation') });
  await bench.database.query(
    `update steward.investigations set state = 'closed', closed_at = now(), closed_by = 'olga', finding = 'fine'
     where run_id = $1`,
    [odd],
  );
  await bench.start(tenant, { continues: odd });
});

test('a conversation has an end', async () => {
  const full = await closed();
  const write = (length: number) =>
    bench.database.query('update steward.agent_runs set earlier_runs = $2, earlier_steps = $3 where id = $1', [
      full,
      Array.from({ length }, (_, n) => `run-number-${n}`),
      Array.from({ length }, () => 1),
    ]);
  await write(48);
  expect((await row((await bench.start(tenant, { continues: full })).id))?.earlier_runs).toHaveLength(49);
  await write(49);
  expect(await refused(full)).toMatchObject({ code: 'LIMIT_REACHED', message: expect.stringContaining('50 runs') });
});
