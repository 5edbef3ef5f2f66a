import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { ExportRunsRequest, ExportRunsResponse } from '#gen/steward/run/v1/run_service_pb.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type Caller, type RunApiBench, runApiBench } from '#test/support/run-api.ts';

let bench: RunApiBench;

beforeAll(async () => {
  bench = await runApiBench();
}, 120_000);

afterAll(() => bench.stop(), 60_000);

const at = (text: string) => timestampFromDate(new Date(text));
const MARCH = { createdAfter: at('2026-03-01'), createdBefore: at('2026-04-01') };

type Asked = Partial<Omit<ExportRunsRequest, '$typeName'>>;

async function read(caller: Caller, request: Asked): Promise<ExportRunsResponse['item'][]> {
  const items: ExportRunsResponse['item'][] = [];
  for await (const { item } of bench.as(caller).runs.exportRuns(request)) items.push(item);
  return items;
}

/** What came, in one word each. */
const told = (items: readonly ExportRunsResponse['item'][]): string[] =>
  items.map((item) => {
    if (item.case === 'run') return item.value.id;
    if (item.case === 'step') return `${item.value.runId} step ${item.value.step?.number}`;
    return item.case === 'cost' ? `${item.value.runId} cost ${item.value.turn}` : 'nothing';
  });

async function addStep(tenant: string, run: string, number: number, content: unknown): Promise<void> {
  await bench.database.query(
    `insert into steward.agent_run_steps (tenant, run_id, number, kind, turn, content) values ($1, $2, $3, 'note', 1, $4)`,
    [tenant, run, number, JSON.stringify(content)],
  );
}

async function addCost(
  tenant: string,
  run: string,
  turn: number,
  columns: Record<string, unknown> = {},
): Promise<void> {
  const all = {
    tenant,
    run_id: run,
    attempt_id: `${run}-${turn}-${crypto.randomUUID()}`,
    turn,
    model: 'claude-sonnet-5-5',
    state: 'settled',
    month_account: 'tenant-month/2026-03',
    reserved_micro_usd: 900,
    settled_micro_usd: 300,
    deadline_at: new Date(),
    ...columns,
  };
  const names = Object.keys(all);
  await bench.database.query(
    `insert into steward.agent_run_costs (${names.join(', ')}) values (${names.map((_, i) => `$${i + 1}`).join(', ')})`,
    Object.values(all),
  );
}

const inMarch = (tenant: string, day: number, more: Record<string, unknown> = {}): Promise<string> =>
  bench.database.run(tenant, { created_at: new Date(Date.UTC(2026, 2, day)), ...more });

test('all runs of the span, oldest first, each with its own steps and costs', async () => {
  const tenant = await bench.database.tenant();
  const second = await inMarch(tenant, 20);
  const first = await inMarch(tenant, 1);
  await bench.database.run(tenant, { created_at: new Date('2026-04-01') });
  await bench.database.run(tenant, { created_at: new Date('2026-02-28T23:59:59.999Z') });
  for (const number of [2, 1]) await addStep(tenant, first, number, { text: `step ${number}` });
  const usage = { input: 10, output: 20, cacheRead: 3, cacheWrite: 4, reasoning: 5 };
  await addCost(tenant, first, 2, { state: 'charged', settled_micro_usd: 900 });
  await addCost(tenant, first, 1, { usage: JSON.stringify(usage), answered_by: 'sonnet', provider_request_id: 'p-1' });
  await addCost(tenant, second, 1, { state: 'reserved', settled_micro_usd: null, model: 'forgotten-1' });
  const whole = [first, `${first} step 1`, `${first} step 2`, `${first} cost 1`, `${first} cost 2`];
  const items = await read({ tenant }, { ...MARCH, steps: true, costs: true });
  expect(told(items)).toEqual([...whole, second, `${second} cost 1`]);
  expect(items[1]?.value).toMatchObject({ step: { kind: 'note', contentJson: '{"text":"step 1"}' } });
  expect(items[3]?.value).toMatchObject({
    state: 'settled',
    provider: 'anthropic',
    model: 'claude-sonnet-5-5',
    answeredBy: 'sonnet',
    providerRequestId: 'p-1',
    reservedMicroUsd: 900n,
    chargedMicroUsd: 300n,
    inputTokens: 10n,
    outputTokens: 20n,
    cacheReadTokens: 3n,
    cacheWriteTokens: 4n,
    reasoningTokens: 5n,
  });
  expect(items[6]?.value).toMatchObject({ state: 'reserved', chargedMicroUsd: 0n, provider: '' });
  expect(told(await read({ tenant }, MARCH))).toEqual([first, second]);
  expect(told(await read({ tenant }, { ...MARCH, costs: true, afterRun: first }))).toEqual([
    second,
    `${second} cost 1`,
  ]);
  expect(await read({ tenant }, { ...MARCH, afterRun: second })).toEqual([]);
});

test('pages of runs, steps and costs join without a gap, whatever is long or of one instant', async () => {
  const tenant = await bench.database.tenant();
  const made: string[] = [];
  for (let i = 0; i < 45; i += 1) made.push(await inMarch(tenant, 5));
  const [run = ''] = made.sort();
  for (let number = 1; number <= 103; number += 1) {
    await addStep(tenant, run, number, 'x'.repeat(number % 10 === 0 ? 300_000 : 10));
  }
  await addStep(tenant, run, 104, 'y'.repeat(600_000));
  for (let turn = 1; turn <= 205; turn += 1) await addCost(tenant, run, turn);
  const items = await read({ tenant }, { ...MARCH, steps: true, costs: true });
  expect(items.flatMap((item) => (item.case === 'run' ? [item.value.id] : []))).toEqual(made);
  const steps = items.flatMap((item) => (item.case === 'step' ? [item.value.step] : []));
  expect(steps.map((step) => step?.number)).toEqual(Array.from({ length: 104 }, (_, i) => i + 1));
  expect(steps[9]?.contentJson).toHaveLength(300_002);
  expect(JSON.parse(steps[103]?.contentJson ?? '')).toEqual({ left_out: true, bytes: 600_002 });
  const costs = items.flatMap((item) => (item.case === 'cost' ? [item.value.turn] : []));
  expect(costs).toEqual(Array.from({ length: 205 }, (_, i) => i + 1));
});

test('what the reader has not come to is not read yet, and a reader that goes away gives its place back', async () => {
  const tenant = await bench.database.tenant();
  const made: string[] = [];
  for (let i = 0; i < 60; i += 1) made.push(await inMarch(tenant, 5, { input: 'x'.repeat(90_000) }));
  const last = made.sort().at(-1) ?? '';
  const items = bench.as({ tenant }).runs.exportRuns(MARCH)[Symbol.asyncIterator]();
  const ids: string[] = [];
  await items.next();
  await bench.database.query(`update steward.agent_runs set input = 'changed' where id = $1`, [last]);
  for (;;) {
    const { value } = (await items.next()) as { value?: ExportRunsResponse };
    if (value?.item.case !== 'run') break;
    ids.push(value.item.value.id);
    if (value.item.value.id === last) expect(value.item.value.input).toBe('changed');
  }
  expect(ids).toHaveLength(59);
  const stop = new AbortController();
  const broken = bench.as({ tenant }).runs.exportRuns(MARCH, { signal: stop.signal })[Symbol.asyncIterator]();
  await broken.next();
  const open = await bench.database.query(
    `select pid from pg_stat_activity where usename = 'steward_run_api' and xact_start < now() - interval '1 second'`,
  );
  expect(open).toEqual([]);
  stop.abort();
  const rest = async (): Promise<void> => {
    while (!(await broken.next()).done);
  };
  expect((await stewardErrorOf(rest())).code).toBe('CANCELLED');
  const again = await Promise.all([1, 2, 3, 4].map(() => read({ tenant }, MARCH)));
  expect(again.map((one) => one.length)).toEqual([60, 60, 60, 60]);
});

test('four exports of a tenant at once, and no fifth', async () => {
  const tenant = await bench.database.tenant();
  for (let i = 0; i < 60; i += 1) await inMarch(tenant, 5, { input: 'x'.repeat(90_000) });
  const open = [1, 2, 3, 4].map(() => bench.as({ tenant }).runs.exportRuns(MARCH)[Symbol.asyncIterator]());
  await Promise.all(open.map((items) => items.next()));
  expect((await stewardErrorOf(read({ tenant }, MARCH))).code).toBe('LIMIT_REACHED');
  const other = await bench.database.tenant();
  expect(await read({ tenant: other }, MARCH)).toEqual([]);
  await Promise.all(open.map((items) => items.return?.()));
});

test('operators, admins and auditors of the tenant, nobody else; who exported what stands in the audit log', async () => {
  const tenant = await bench.database.tenant();
  const run = await inMarch(tenant, 5);
  await addStep(tenant, run, 1, 'mine');
  await addCost(tenant, run, 1);
  for (const role of ['operator', 'admin', 'auditor'] as const) {
    expect(told(await read({ tenant, subject: 'olga', roles: [role] }, MARCH))).toEqual([run]);
  }
  for (const role of ['service', 'user', 'approver', 'worker'] as const) {
    expect((await stewardErrorOf(read({ tenant, roles: [role] }, MARCH))).code).toBe('ROLE_MISSING');
  }
  const stranger = { tenant: await bench.database.tenant() };
  expect(await read(stranger, { ...MARCH, steps: true, costs: true })).toEqual([]);
  expect((await stewardErrorOf(read(stranger, { ...MARCH, afterRun: run }))).code).toBe('NOT_FOUND');
  const entries = await bench.database.query(
    `select actor, data from steward.audit_log where tenant = $1 and action = 'runs.export' order by id limit 1`,
    [tenant],
  );
  expect(entries).toEqual([
    {
      actor: 'olga',
      data: { from: '2026-03-01T00:00:00.000Z', to: '2026-04-01T00:00:00.000Z', steps: false, costs: false },
    },
  ]);
});

test('a span is needed, has an order, and is at most 92 days', async () => {
  const tenant = await bench.database.tenant();
  for (const request of [
    {},
    { createdAfter: MARCH.createdAfter },
    { createdBefore: MARCH.createdBefore },
    { createdAfter: MARCH.createdBefore, createdBefore: MARCH.createdAfter },
    { createdAfter: MARCH.createdAfter, createdBefore: MARCH.createdAfter },
    { createdAfter: at('2026-01-01'), createdBefore: at('2026-04-03T00:00:00.001Z') },
    { ...MARCH, createdAfter: { seconds: 10n ** 17n, nanos: 0, $typeName: 'google.protobuf.Timestamp' } as const },
    { ...MARCH, afterRun: "x'" },
  ]) {
    expect((await stewardErrorOf(read({ tenant }, request))).code).toBe('INVALID_REQUEST');
  }
  expect(await read({ tenant }, { createdAfter: at('2026-01-01'), createdBefore: at('2026-04-03') })).toEqual([]);
});
