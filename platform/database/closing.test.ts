import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { keyOf } from '#domain/ids.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { answer, type Row, workerBench } from '#test/support/worker-bench.ts';

let bench: Awaited<ReturnType<typeof workerBench>>;

beforeAll(async () => {
  bench = await workerBench();
}, 120_000);

afterAll(async () => {
  await bench.stop();
});

const COMPLETED = { status: 'completed', reason: null, message: '' } as const;
const CANCELLED = { status: 'cancelled', reason: 'cancelled', message: 'was cancelled' } as const;

test('a run closes with its cost and its last words', async () => {
  const run = await bench.run();
  const { id } = await run.open(1);
  const said = [
    { type: 'text', text: 'All\u0000' },
    { type: 'text', text: ' done.\ud83d' },
  ] as const;
  await bench.turns.storeAnswer(run.ref, 1, id, answer(said), 0);
  await bench.turns.addText(run.ref, 1, 1, 0, 'late');
  expect(await bench.calls.close(run.ref, COMPLETED)).toEqual({
    costMicroUsd: 200,
    steps: 2,
    unknown: 0,
    unread: 0,
    promoted: [],
  });
  expect(await run.row()).toMatchObject({
    status: 'completed',
    stop_reason: null,
    outcome: 'All\ufffd done.\ufffd',
    closed_at: expect.any(Date),
    waits_until: null,
  });
  expect((await run.events()).at(-1)).toMatchObject({
    kind: 'run.closed',
    data: { status: 'completed', reason: null, cost: 200, outcome: 'All\ufffd done.\ufffd' },
  });
  const deltas = await bench.database.query('select 1 from steward.agent_run_text_deltas where run_id = $1', [
    run.ref.run,
  ]);
  expect(deltas).toEqual([]);
});

test('the first end keeps, however many come at the same time or later', async () => {
  const run = await bench.run();
  const closed = await Promise.all(
    [COMPLETED, CANCELLED, COMPLETED, CANCELLED].map((end) => bench.calls.close(run.ref, end)),
  );
  expect(new Set(closed.map((one) => JSON.stringify(one))).size).toBe(1);
  const before = await run.row();
  await bench.calls.close(run.ref, { status: 'failed', reason: 'internal', message: 'x' });
  expect(await run.row()).toEqual(before);
  expect((await run.kinds()).filter((kind) => kind === 'run.closed')).toHaveLength(1);
});

test('what is open is charged, voided or cancelled; what took place stays', async () => {
  const run = await bench.run({ columns: { open_approvals: 1 } });
  await run.open(1);
  await run.judge('1.0', { state: 'done' });
  await run.judge('1.1', { verdict: 'ask', approval_id: `ap-${run.ref.run}` });
  await run.judge('1.2', { state: 'started', attempts: 1 });
  await run.judge('1.3', { state: 'outcome_unknown', attempts: 1 });
  await bench.database.query(
    `insert into steward.approvals (tenant, id, run_id, call_id, agent, acting_user, catalog, tool, action_record, digest,
       tier, why, policy_set_hash, state, expires_at)
     values ($1, $2, $3, '1.1', 'helper', 'ann@acme', 'desk', 'edit_note', '', '', 3, '{}', 'p', 'open', now())`,
    [run.ref.tenant, `ap-${run.ref.run}`, run.ref.run],
  );
  const started = await bench.calls.startedCalls(run.ref);
  expect(started).toMatchObject([
    { callId: '1.2', key: keyOf(run.ref.run, '1.2'), state: 'started', runGrant: run.grant },
    { callId: '1.3', state: 'outcome_unknown' },
  ]);
  const closed = await bench.calls.close(run.ref, CANCELLED);
  expect(closed).toMatchObject({ costMicroUsd: 6_250, unknown: 2 });
  expect(await run.costs()).toMatchObject([{ state: 'charged', settled_micro_usd: 6_250 }]);
  expect(await run.account()).toMatchObject({ reserved_micro_usd: 0, settled_micro_usd: 6_250 });
  const states = await Promise.all(['1.0', '1.1', '1.2', '1.3'].map(async (id) => (await run.call(id)).state));
  expect(states).toEqual(['done', 'cancelled', 'started', 'outcome_unknown']);
  const [approval] = await bench.database.query('select state from steward.approvals where run_id = $1', [run.ref.run]);
  expect(approval).toEqual({ state: 'void' });
  expect(await run.row()).toMatchObject({
    status: 'cancelled',
    stop_message: 'was cancelled',
    open_approvals: 0,
    outcome: '',
  });
});

test('the freed slot goes to the oldest queued run of the tenant, once', async () => {
  const tenant = await bench.database.tenant({ max_concurrent_runs: 1 });
  const run = await bench.run({ tenant });
  const waiting = {
    status: 'queued',
    admitted_at: null,
    workflow_started_at: null,
    waits_until: new Date(Date.now() + 3_600_000),
  };
  const [older, newer] = [await bench.run({ tenant, columns: waiting }), await bench.run({ tenant, columns: waiting })];
  const [closed, again] = await Promise.all([
    bench.calls.close(run.ref, CANCELLED),
    bench.calls.close(run.ref, CANCELLED),
  ]);
  const promoted = [...closed.promoted, ...again.promoted];
  expect(promoted).toHaveLength(1);
  expect(await older.row()).toMatchObject({ status: 'pending' });
  expect(await newer.row()).toMatchObject({ status: 'queued' });
  const owed = await bench.database.query<Row>('select id, kind, run_id from steward.outbox where tenant = $1', [
    tenant,
  ]);
  expect(owed).toEqual([{ id: promoted[0], kind: 'start', run_id: older.ref.run }]);
});

test("another tenant closes nothing, and a grant that is not the run's is refused", async () => {
  const [run, other] = [await bench.run(), await bench.run()];
  const foreign = { tenant: other.ref.tenant, run: run.ref.run };
  expect((await stewardErrorOf(bench.calls.close(foreign, CANCELLED))).code).toBe('NOT_FOUND');
  expect(await bench.calls.startedCalls(foreign)).toEqual([]);
  await bench.database.query('update steward.agent_runs set run_grant = $2 where id = $1', [run.ref.run, other.grant]);
  expect((await stewardErrorOf(bench.calls.close(run.ref, CANCELLED))).code).toBe('GRANT_MISMATCH');
  expect(await run.row()).toMatchObject({ closed_at: null });
});
