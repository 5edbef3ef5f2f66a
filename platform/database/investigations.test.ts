import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { workerBench } from '#test/support/worker-bench.ts';
import { isSampled } from './investigations.ts';

let bench: Awaited<ReturnType<typeof workerBench>>;

beforeAll(async () => {
  bench = await workerBench();
}, 120_000);

afterAll(async () => {
  await bench.stop();
});

const queue = (run: string) =>
  bench.database.query('select reasons, evidence, state from steward.investigations where run_id = $1', [run]);

test.each([
  ['cancelled', 'cancelled', 'aborted'],
  ['failed', 'internal', 'aborted'],
  ['terminated', 'terminated', 'aborted'],
  ['failed', 'limit.tool_calls', 'capped'],
  ['failed', 'stuck', 'capped'],
  ['budget_exceeded', 'budget', 'capped'],
] as const)('a run that ends %s (%s) is to be looked at as %s', async (status, reason, why) => {
  const run = await bench.run();
  await bench.calls.close(run.ref, { status, reason, message: 'as it was' });
  expect(await queue(run.ref.run)).toEqual([
    { reasons: [why], evidence: [{ kind: why, status, reason, text: 'as it was' }], state: 'open' },
  ]);
});

test('a further reason opens it again and keeps what was there', async () => {
  const run = await bench.run();
  await bench.database.query(
    `insert into steward.investigations (tenant, run_id, reasons, evidence, state, closed_at)
     values ($1, $2, '{anomaly}', '[{"text":"odd"}]', 'closed', now())`,
    [run.ref.tenant, run.ref.run],
  );
  await bench.calls.close(run.ref, { status: 'cancelled', reason: 'cancelled', message: 'no' });
  expect(await queue(run.ref.run)).toMatchObject([
    { reasons: ['anomaly', 'aborted'], evidence: [{ text: 'odd' }, { text: 'no' }], state: 'open' },
  ]);
});

test('of runs that ended well, the sample of the tenant is taken, and no other', async () => {
  const run = await bench.run();
  const sample = (perMille: number) =>
    bench.database.query('update steward.tenants set sampled_per_mille = $2 where id = $1', [run.ref.tenant, perMille]);
  await sample(0);
  await bench.calls.close(run.ref, { status: 'completed', reason: null, message: '' });
  expect(await queue(run.ref.run)).toEqual([]);
  const other = await bench.run({ tenant: run.ref.tenant });
  await sample(1_000);
  await bench.calls.close(other.ref, { status: 'completed', reason: null, message: '' });
  expect(await queue(other.ref.run)).toMatchObject([{ reasons: ['sample'] }]);
});

test('a sample is as large as it is said to be', () => {
  const of = (perMille: number) =>
    Array.from({ length: 20_000 }, (_, at) => isSampled(`run${at}`, perMille)).filter(Boolean).length;
  expect(of(0)).toBe(0);
  expect(of(1_000)).toBe(20_000);
  expect(of(100)).toBeGreaterThan(1_800);
  expect(of(100)).toBeLessThan(2_200);
});
