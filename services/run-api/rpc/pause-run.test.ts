import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type RunApiBench, runApiBench } from '#test/support/run-api.ts';

let bench: RunApiBench;

beforeAll(async () => {
  bench = await runApiBench();
}, 120_000);

afterAll(() => bench.stop(), 60_000);

const rows = (table: string, run: string) =>
  bench.database.query(`select kind from steward.${table} where run_id = $1 order by 1`, [run]);

test('a paused run says by whom and until when, and goes on where it stood; twice is once', async () => {
  const tenant = await bench.database.tenant();
  const run = await bench.database.run(tenant);
  const { runs } = bench.as({ tenant });
  const paused = await runs.pauseRun({ runId: run, reason: 'lunch' });
  expect(paused.run).toMatchObject({ status: RunStatus.PAUSED, stopReason: 'paused by ann@acme', head: 1n });
  expect(Number(paused.run?.waitsUntil?.seconds) * 1_000).toBeGreaterThan(Date.now());
  expect((await runs.pauseRun({ runId: run })).run?.head).toBe(1n);
  const resumed = await runs.resumeRun({ runId: run });
  // It had not begun: `run.started` is still to come.
  expect(resumed.run).toMatchObject({ status: RunStatus.PENDING, head: 2n, stopReason: '' });
  expect(resumed.run?.waitsUntil).toBeUndefined();
  expect((await runs.resumeRun({ runId: run })).run?.head).toBe(2n);
  expect((await rows('outbox', run)).map((row) => row.kind)).toEqual(['pause', 'resume']);
  expect((await rows('agent_run_events', run)).map((row) => row.kind)).toEqual(['run.paused', 'run.resumed']);
  const [row] = await bench.database.query('select paused_by from steward.agent_runs where id = $1', [run]);
  expect(row?.paused_by).toBeNull();
});

test('a run that waited for a person waits on', async () => {
  const tenant = await bench.database.tenant();
  const run = await bench.database.run(tenant, { status: 'awaiting_approval', open_approvals: 1 });
  const expires = new Date(Date.now() + 3_600_000);
  await bench.database.query(
    `insert into steward.approvals (tenant, id, run_id, call_id, agent, acting_user, catalog, tool, action_record, digest,
       tier, why, policy_set_hash, state, expires_at)
     values ($1, $2, $3, '1.0', 'helper', 'ann', 'desk', 'shred', '', 'd', 3, '{}', 'p', 'open', $4)`,
    [tenant, `a-${run}`, run, expires],
  );
  const { runs } = bench.as({ tenant });
  expect((await runs.pauseRun({ runId: run })).run?.status).toBe(RunStatus.PAUSED);
  const { run: after } = await runs.resumeRun({ runId: run });
  expect(after).toMatchObject({ status: RunStatus.AWAITING_APPROVAL, openApprovals: [`a-${run}`] });
  expect(Number(after?.waitsUntil?.seconds)).toBe(Math.floor(expires.getTime() / 1_000));
});

test('what stands still already, ends or has ended is not paused', async () => {
  const tenant = await bench.database.tenant();
  const { runs } = bench.as({ tenant });
  for (const [columns, why] of [
    [{ status: 'queued', admitted_at: null }, 'is queued'],
    [{ status: 'budget_exceeded' }, 'want of budget'],
    [{ cancel_requested_by: 'bob' }, 'is being cancelled'],
    [{ status: 'failed', closed_at: new Date() }, 'is closed: failed'],
  ] as const) {
    const run = await bench.database.run(tenant, columns);
    const error = await stewardErrorOf(runs.pauseRun({ runId: run }));
    expect(error).toMatchObject({ code: 'WRONG_STATE', message: expect.stringContaining(why) });
    expect(await rows('outbox', run)).toEqual([]);
  }
  const closed = await bench.database.run(tenant, { status: 'completed', closed_at: new Date() });
  expect((await stewardErrorOf(runs.resumeRun({ runId: closed }))).code).toBe('WRONG_STATE');
});

test('what is paused as unusual is resumed by people who look after the tenant, not by who started it', async () => {
  const tenant = await bench.database.tenant();
  const unusual = { status: 'paused', paused_by: 'steward', started_by: 'shop' };
  const run = await bench.database.run(tenant, unusual);
  const service = bench.as({ tenant, subject: 'shop', roles: ['service'], onBehalfOf: 'ann@acme' });
  expect((await stewardErrorOf(service.runs.resumeRun({ runId: run }))).code).toBe('ROLE_MISSING');
  const user = bench.as({ tenant, subject: 'ann@acme', roles: ['user'] });
  expect((await stewardErrorOf(user.runs.resumeRun({ runId: run }))).code).toBe('ROLE_MISSING');
  await bench.as({ tenant }).runs.resumeRun({ runId: run });
  const [row] = await bench.database.query('select paused_by from steward.agent_runs where id = $1', [run]);
  expect(row?.paused_by).toBeNull();
});
