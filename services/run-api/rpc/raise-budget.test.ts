import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type RunApiBench, runApiBench } from '#test/support/run-api.ts';

let bench: RunApiBench;

beforeAll(async () => {
  bench = await runApiBench();
}, 120_000);

afterAll(() => bench.stop(), 60_000);

const limitOf = async (run: string) =>
  (await bench.database.query('select limit_micro_usd from steward.ledger_accounts where id = $1', [`run/${run}`]))[0]
    ?.limit_micro_usd;

test('ten repeats at once raise once; another amount under the same id is refused', async () => {
  const tenant = await bench.tenant();
  const run = await bench.start(tenant);
  const { runs } = bench.as({ tenant });
  const raise = { runId: run.id, requestId: 'more', addMicroUsd: 250_000n, reason: 'worth it' };
  const answers = await Promise.all(Array.from({ length: 10 }, () => runs.raiseBudget(raise)));
  for (const answer of answers) expect(answer.run?.cost?.budgetMicroUsd).toBe(750_000n);
  expect(await limitOf(run.id)).toBe(750_000);
  const entries = await bench.database.query('select * from steward.ledger_entries where run_id = $1', [run.id]);
  expect(entries).toMatchObject([
    { kind: 'raise', amount_micro_usd: 250_000, by_subject: 'ann@acme', raise_id: 'more' },
  ]);
  const events = await bench.database.query(
    "select data from steward.agent_run_events where run_id = $1 and kind = 'budget.raised'",
    [run.id],
  );
  expect(events).toEqual([{ data: { by: 'ann@acme', add: 250_000, limit: 750_000, reason: 'worth it' } }]);
  const error = await stewardErrorOf(runs.raiseBudget({ ...raise, addMicroUsd: 1n }));
  expect(error.code).toBe('REQUEST_ID_REUSED');
  const different = await Promise.all(
    Array.from({ length: 10 }, (_, i) => runs.raiseBudget({ ...raise, requestId: `n${i}`, addMicroUsd: 10n })),
  );
  expect(different).toHaveLength(10);
  expect(await limitOf(run.id)).toBe(750_100);
});

test('a run that waits for budget is told, and a closed one is refused, but for repeats', async () => {
  const tenant = await bench.tenant();
  const run = await bench.start(tenant);
  await bench.database.query(
    "update steward.agent_runs set status = 'budget_exceeded', waits_until = now() where id = $1",
    [run.id],
  );
  const { runs } = bench.as({ tenant });
  const raise = { runId: run.id, requestId: 'r', addMicroUsd: 1n };
  const { run: after } = await runs.raiseBudget(raise);
  expect(after?.status).toBe(RunStatus.RUNNING);
  expect(after?.waitsUntil).toBeUndefined();
  const owed = await bench.database.query(
    "select payload from steward.outbox where run_id = $1 and kind = 'raise_budget'",
    [run.id],
  );
  expect(owed).toEqual([{ payload: { raiseId: 'r' } }]);
  await bench.database.query("update steward.agent_runs set status = 'failed', closed_at = now() where id = $1", [
    run.id,
  ]);
  expect((await runs.raiseBudget(raise)).run?.status).toBe(RunStatus.FAILED);
  expect((await stewardErrorOf(runs.raiseBudget({ ...raise, requestId: 'r2' }))).code).toBe('WRONG_STATE');
});

test("a raise the tenant's month does not afford is refused, and so is one out of range or by the wrong person", async () => {
  const tenant = await bench.tenant({ month_budget_micro_usd: 1_000_000 });
  const run = await bench.start(tenant);
  await bench.database.query(
    "update steward.ledger_accounts set settled_micro_usd = 700000, reserved_micro_usd = 200000 where tenant = $1 and id like 'tenant-month/%'",
    [tenant],
  );
  const { runs } = bench.as({ tenant });
  const add = (addMicroUsd: bigint, requestId = `id-${addMicroUsd}`) =>
    runs.raiseBudget({ runId: run.id, requestId, addMicroUsd });
  const error = await stewardErrorOf(add(100_001n));
  expect(error).toMatchObject({
    code: 'BUDGET_EXCEEDED',
    message: expect.stringContaining('has 100000 micro-USD left'),
  });
  await add(100_000n);
  for (const amount of [0n, -1n, 1_000_000_001n])
    expect((await stewardErrorOf(add(amount))).code).toBe('INVALID_REQUEST');
  expect((await stewardErrorOf(add(1n, ''))).message).toContain('request_id is needed');
  expect(await limitOf(run.id)).toBe(600_000);
  const other = await bench.tenant();
  const foreign = bench.as({ tenant: other }).runs.raiseBudget({ runId: run.id, requestId: 'f', addMicroUsd: 1n });
  expect((await stewardErrorOf(foreign)).code).toBe('NOT_FOUND');
  for (const role of ['user', 'service', 'approver', 'auditor'] as const) {
    const caller = bench.as({ tenant, roles: [role] }).runs;
    const refused = caller.raiseBudget({ runId: run.id, requestId: 'f', addMicroUsd: 1n });
    expect((await stewardErrorOf(refused)).code).toBe('ROLE_MISSING');
  }
});
