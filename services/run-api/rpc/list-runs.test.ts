import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type ListRunsRequest, RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type RunApiBench, runApiBench } from '#test/support/run-api.ts';

let bench: RunApiBench;

beforeAll(async () => {
  bench = await runApiBench();
}, 120_000);

afterAll(() => bench.stop(), 60_000);

type Filter = Partial<Omit<ListRunsRequest, '$typeName'>>;

async function idsOf(tenant: string, filter: Filter): Promise<string[]> {
  const ids: string[] = [];
  let pageToken = '';
  for (let pages = 0; pages < 50; pages += 1) {
    const answer = await bench.as({ tenant }).runs.listRuns({ ...filter, pageToken });
    ids.push(...answer.runs.map((run) => run.id));
    pageToken = answer.nextPageToken;
    if (pageToken === '') return ids;
  }
  throw new Error('never ends');
}

test('pages go through all runs once, newest first, also where many were made in one instant', async () => {
  const tenant = await bench.database.tenant();
  const made: string[] = [];
  const same = new Date('2026-03-01T10:00:00.123Z');
  for (let i = 0; i < 23; i += 1) made.push(await bench.database.run(tenant, i % 2 === 0 ? { created_at: same } : {}));
  // Finer than a millisecond.
  await bench.database.query(
    "update steward.agent_runs set created_at = created_at + interval '1 microsecond' * (length(input) % 3) where tenant = $1",
    [tenant],
  );
  const inOrder = await bench.database.query<{ id: string }>(
    'select id from steward.agent_runs where tenant = $1 order by created_at desc, id desc',
    [tenant],
  );
  for (const pageSize of [1, 5, 23, 100]) {
    expect(await idsOf(tenant, { pageSize })).toEqual(inOrder.map((row) => row.id));
  }
  expect((await bench.as({ tenant }).runs.listRuns({})).runs).toHaveLength(20);
});

test('every filter alone and all together', async () => {
  const tenant = await bench.database.tenant();
  const old = await bench.database.run(tenant, {
    created_at: new Date('2026-01-01'),
    status: 'completed',
    closed_at: new Date(),
  });
  const labelled = await bench.database.run(tenant, { labels: JSON.stringify({ team: 'a', env: 'prod' }) });
  const other = await bench.database.run(tenant, { agent: 'other', acting_user: 'bob@acme', status: 'queued' });
  const used = await bench.database.run(tenant, { labels: JSON.stringify({ team: 'b' }) });
  for (const [run, call, started] of [
    [used, '1.0', new Date()],
    [labelled, '1.0', null],
  ] as const) {
    await bench.database.query(
      `insert into steward.agent_run_tool_invocations (tenant, run_id, call_id, turn, ordinal, provider_id, tool, sig,
         verdict, policy_set_hash, state, started_at)
       values ($1, $2, $3, 1, 0, 'p', 'shred', 's', 'allow', 'h', 'done', $4)`,
      [tenant, run, call, started],
    );
  }
  const cases: readonly (readonly [Filter, readonly string[]])[] = [
    [{ statuses: [RunStatus.COMPLETED] }, [old]],
    [{ statuses: [RunStatus.COMPLETED, RunStatus.QUEUED] }, [other, old]],
    [{ agent: 'other' }, [other]],
    [{ actingUser: 'bob@acme' }, [other]],
    [{ labels: { team: 'a' } }, [labelled]],
    [{ labels: { team: 'a', env: 'prod' } }, [labelled]],
    [{ labels: { team: 'a', env: 'dev' } }, []],
    [{ tool: 'shred' }, [used]],
    [{ createdBefore: timestampFromDate(new Date('2026-01-02')) }, [old]],
    [
      {
        createdAfter: timestampFromDate(new Date('2026-01-02')),
        agent: 'helper',
        labels: { team: 'b' },
        tool: 'shred',
      },
      [used],
    ],
    [{ agent: "x' or true --" }, []],
  ];
  for (const [filter, ids] of cases) expect(await idsOf(tenant, filter)).toEqual(ids);
});

test('users see their runs, services those they started or that act for their user', async () => {
  const tenant = await bench.database.tenant();
  const mine = await bench.database.run(tenant, { acting_user: 'ann@acme', started_by: 'shop' });
  await bench.database.run(tenant, { acting_user: 'bob@acme', started_by: 'desk' });
  const seen = async (caller: Parameters<RunApiBench['as']>[0]) =>
    (await bench.as(caller).runs.listRuns({})).runs.map((run) => run.id);
  expect(await seen({ tenant, subject: 'ann@acme', roles: ['user'] })).toEqual([mine]);
  expect(await seen({ tenant, subject: 'shop', roles: ['service'] })).toEqual([mine]);
  expect(await seen({ tenant, subject: 'mall', roles: ['service'], onBehalfOf: 'ann@acme' })).toEqual([mine]);
  expect(await seen({ tenant, subject: 'eve@acme', roles: ['user'] })).toEqual([]);
  for (const role of ['approver', 'auditor', 'operator', 'admin'] as const) {
    expect(await seen({ tenant, subject: 'x', roles: [role] })).toHaveLength(2);
  }
});

test('long texts are cut in lists, so that a page of the longest runs fits a message', async () => {
  const tenant = await bench.database.tenant();
  for (let i = 0; i < 100; i += 1)
    await bench.database.run(tenant, { input: '漢'.repeat(10_000), outcome: '字'.repeat(9_000) });
  const { runs } = await bench.as({ tenant }).runs.listRuns({ pageSize: 100 });
  expect(runs).toHaveLength(100);
  expect(runs[0]?.input).toHaveLength(1_000);
  const whole = await bench.as({ tenant }).runs.getRun({ runId: runs[0]?.id ?? '' });
  expect(whole.run?.input).toHaveLength(10_000);
});

test('bad pages, times and statuses are refused', async () => {
  const tenant = await bench.database.tenant();
  const { runs } = bench.as({ tenant });
  const b64 = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');
  for (const request of [
    { pageSize: 101 },
    { pageSize: -1 },
    { pageToken: 'nonsense' },
    { pageToken: b64({}) },
    { pageToken: b64(['now()', 'x']) },
    { pageToken: b64(['2026-01-01 00:00:00+00', "'; drop table x"]) },
    { pageToken: 'x'.repeat(1_000) },
    { statuses: [RunStatus.UNSPECIFIED] },
    { statuses: [99 as RunStatus] },
    { agent: 'x'.repeat(201) },
    { tool: 'a\0' },
    { createdAfter: { seconds: 10n ** 17n } },
    { labels: Object.fromEntries(Array.from({ length: 21 }, (_, i) => [`l${i}`, 'x'])) },
  ]) {
    expect((await stewardErrorOf(runs.listRuns(request))).code).toBe('INVALID_REQUEST');
  }
  const other = await bench.database.tenant();
  expect((await stewardErrorOf(runs.listRuns({ tenant: other }))).code).toBe('TENANT_MISMATCH');
});

test('runs are found by words of input and outcome, taken as they are written', async () => {
  const tenant = await bench.database.tenant();
  const refund = await bench.database.run(tenant, { input: 'Refund Äpfel, 100% of it', outcome: 'Done by_hand.' });
  const other = await bench.database.run(tenant, { input: 'Refund 1000 of it', outcome: 'Done byXhand with C:\\tmp' });
  const found = (text: string) => idsOf(tenant, { text });
  expect(await found('REFUND')).toEqual([other, refund]);
  expect(await found('refund  äPFEL')).toEqual([refund]);
  expect(await found('fund done')).toEqual([other, refund]);
  expect(await found('100%')).toEqual([refund]);
  expect(await found('by_hand')).toEqual([refund]);
  expect(await found('c:\\tmp')).toEqual([other]);
  expect(await found("x' or true --")).toEqual([]);
  expect(await found('refund nothing')).toEqual([]);
  expect(await found('   ')).toEqual([other, refund]);
  expect(await idsOf(await bench.database.tenant(), { text: 'refund' })).toEqual([]);
  const user = bench.as({ tenant, subject: 'eve@acme', roles: ['user'] });
  expect((await user.runs.listRuns({ text: 'refund' })).runs).toEqual([]);
  for (const text of ['x'.repeat(201), 'a b c d e f g h i j k', 'a\0']) {
    expect((await stewardErrorOf(bench.as({ tenant }).runs.listRuns({ text }))).code).toBe('INVALID_REQUEST');
  }
});

test('a search looks at 2,000 runs at a time, and says where to go on', async () => {
  const tenant = await bench.database.tenant();
  const oldest = await bench.database.run(tenant, { input: 'a needle', created_at: new Date('2026-01-01') });
  const copy = 'tenant, agent, agent_hash, acting_user, started_by, tools, limits, waits, model, max_output_tokens';
  await bench.database.query(
    `insert into steward.agent_runs (${copy}, id, request_id, request_digest, input, run_grant, status, created_at)
     select ${copy}, 'copy-of-' || n, 'copy-of-' || n, request_digest, 'hay', run_grant, status, created_at + n * interval '1 ms'
     from steward.agent_runs, generate_series(1, 2100) n where id = $1`,
    [oldest],
  );
  const { runs } = bench.as({ tenant });
  const first = await runs.listRuns({ text: 'needle' });
  expect(first.runs).toEqual([]);
  const second = await runs.listRuns({ text: 'needle', pageToken: first.nextPageToken });
  expect(second.runs.map((run) => run.id)).toEqual([oldest]);
  expect(second.nextPageToken).toBe('');
  expect((await idsOf(tenant, { text: 'hay', pageSize: 100 })).length).toBe(2_100);
  expect((await idsOf(tenant, { labels: { team: 'none' } })).length).toBe(0);
});
