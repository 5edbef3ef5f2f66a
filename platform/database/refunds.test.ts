import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { runAccount, userMonthAccount } from '#domain/ids.ts';
import type { ClosedStatus } from '#domain/run.ts';
import { answer, type Row, type SeededRun, workerBench } from '#test/support/worker-bench.ts';

let bench: Awaited<ReturnType<typeof workerBench>>;

beforeAll(async () => {
  bench = await workerBench();
}, 120_000);

afterAll(() => bench.stop());

const USAGE = { input: 100, output: 20, cacheRead: 0, cacheWrite: 0, reasoning: 0 };
const COST = 200;

async function spent(run: SeededRun): Promise<Record<string, number>> {
  const rows = await bench.database.query<Row>(
    `select split_part(id, '/', 1) as level, settled_micro_usd::int as settled from steward.ledger_accounts
     where tenant = $1 and (id = $2 or id not like 'run/%')
     union all select 'product', sum(settled_micro_usd)::int from steward.product_accounts`,
    [run.ref.tenant, runAccount(run.ref.run)],
  );
  return Object.fromEntries(rows.map(({ level, settled }) => [level, settled]));
}

const entries = (run: SeededRun): Promise<Row[]> =>
  bench.database.query(
    `select account, amount_micro_usd::int as amount, reason from steward.ledger_entries
     where run_id = $1 and kind = 'refund' order by id`,
    [run.ref.run],
  );

async function played(policy: string, status: ClosedStatus): Promise<SeededRun> {
  const run = await bench.run({ tenant: await bench.database.tenant({ charge_policy: policy }) });
  const { id } = await run.open(1);
  await bench.turns.storeAnswer(run.ref, 1, id, answer(undefined, { usage: USAGE }), 10);
  await bench.calls.close(run.ref, { status, reason: null, message: 'over' });
  return run;
}

test.each([
  ['as_used', 'failed', 0],
  ['refund_failed', 'failed', COST],
  ['refund_failed', 'terminated', COST],
  ['refund_failed', 'cancelled', 0],
  ['refund_failed', 'completed', 0],
  ['refund_unfinished', 'cancelled', COST],
  ['refund_unfinished', 'budget_exceeded', COST],
  ['refund_unfinished', 'completed', 0],
] as const)('under %s a run that ends as %s gets %i back', async (policy, status, back) => {
  const before = (await spent(await bench.run())).product ?? 0;
  const run = await played(policy, status);
  expect(await spent(run)).toEqual({
    run: COST,
    'user-month': COST - back,
    'tenant-month': COST - back,
    // The provider was paid all the same.
    product: before + COST,
  });
  expect((await run.row()).refunded_micro_usd).toBe(back);
  expect((await run.events()).at(-1)?.data.refunded).toBe(back === 0 ? undefined : back);
  const shown = (await entries(run)).map(({ account, amount, reason }) => [
    String(account).split('/')[0],
    amount,
    reason,
  ]);
  const both = [
    ['user-month', COST, policy],
    ['tenant-month', COST, policy],
  ];
  expect(shown).toEqual(back === 0 ? [] : both);
});

test('what a dead attempt of a refunded run turns out to have cost is given back, and no more', async () => {
  const run = await bench.run({ tenant: await bench.database.tenant({ charge_policy: 'refund_failed' }) });
  const { id, opened } = await run.open(1);
  if (opened.kind !== 'reserved') throw new Error(opened.kind);
  const held = opened.reservedMicroUsd;
  await bench.calls.close(run.ref, { status: 'failed', reason: 'internal', message: 'over' });
  expect(await spent(run)).toMatchObject({ run: held, 'user-month': 0, 'tenant-month': 0 });
  await bench.turns.storeAnswer(run.ref, 1, id, answer(undefined, { usage: USAGE }), 10);
  expect(await spent(run)).toMatchObject({ run: COST, 'user-month': 0, 'tenant-month': 0 });
  expect((await run.row()).refunded_micro_usd).toBe(COST);
  const user = userMonthAccount(Date.now(), 'ann@acme');
  const ofUser = (await entries(run)).filter(({ account }) => account === user).map(({ amount }) => amount);
  expect(ofUser).toEqual([held, COST - held]);
});
