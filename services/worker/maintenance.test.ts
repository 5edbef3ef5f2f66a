import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { freePort } from '#deploy/dev/ports.ts';
import type { RunningTemporal } from '#deploy/dev/temporal.ts';
import { StewardError } from '#domain/errors.ts';
import { workflowIdOf } from '#domain/ids.ts';
import type { MaintenanceJob } from '#domain/ports/maintenance-activities.ts';
import type { CatalogPort } from '#domain/ports/services.ts';
import { RUN_WORKFLOW } from '#domain/run-workflow.ts';
import { startQueued } from '#platform/database/admission.ts';
import { withTenant } from '#platform/database/tenant.ts';
import { connectTemporal, type Temporal } from '#platform/temporal/client.ts';
import { RECEIPT } from '#test/support/act-world.ts';
import { activityEnvironment } from '#test/support/activities.ts';
import { keepLog } from '#test/support/rpc.ts';
import { testTemporal } from '#test/support/temporal.ts';
import { type SeededRun, type SeedOptions, workerBench } from '#test/support/worker-bench.ts';
import { createMaintenance } from './maintenance.ts';

let bench: Awaited<ReturnType<typeof workerBench>>;
let server: RunningTemporal;
let temporal: Temporal;

beforeAll(async () => {
  [bench, server] = await Promise.all([workerBench(), testTemporal()]);
  temporal = connectTemporal({ address: server.address, namespace: server.namespace });
}, 180_000);

afterAll(async () => {
  await temporal.close();
  await server.stop();
  await bench.stop();
}, 60_000);

// Each test looks at its own runs only.
beforeEach(async () => {
  await bench.database.query('update steward.agent_runs set closed_at = now() where closed_at is null');
  await bench.database.query('update steward.outbox set delivered_at = now()');
});

const LONG_AGO = new Date(Date.now() - 60_000);

/** A run that was started a minute ago, as far as the database knows. */
const old = (columns: SeedOptions['columns'] = {}): Promise<SeededRun> =>
  bench.run({ columns: { status: 'running', created_at: LONG_AGO, workflow_started_at: LONG_AGO, ...columns } });

/** Its workflow, which no worker takes up. */
async function start(run: SeededRun) {
  return temporal.client.workflow.start(RUN_WORKFLOW, {
    workflowId: workflowIdOf(run.ref.run),
    taskQueue: 'nobody',
    args: [],
  });
}

/** One pass of a job. Catalogs know of nothing; deliveries go to the real Temporal. */
async function pass(job: MaintenanceJob, over: { temporal?: Temporal; resolve?: CatalogPort['resolve'] } = {}) {
  const log = keepLog();
  const unknown = () => Promise.reject(new StewardError('CATALOG_UNAVAILABLE', 'cannot be reached'));
  const delivered: (readonly number[])[] = [];
  const jobs = createMaintenance({
    db: bench.db,
    temporal: over.temporal ?? temporal,
    log,
    closing: {
      store: bench.calls,
      catalogs: { execute: unknown, resolve: over.resolve ?? unknown },
      deliver: async (_, ids) => void delivered.push(ids),
      push: { onStop: () => () => undefined, epoch: () => 0 },
      log: { warn: () => undefined },
    },
  });
  const work = { reconcile: jobs.reconcile, sweep: jobs.sweep, outbox: jobs.deliverOutbox }[job];
  const counts = (await activityEnvironment().run(work)) as Record<string, number>;
  return { counts, log: log.lines };
}

test('a run terminated in Temporal is settled, voided, and closed as terminated', async () => {
  const run = await old();
  await run.open(1);
  await run.judge('1.0', { state: 'started', attempts: 1 });
  await (await start(run)).terminate('by an operator');
  const { counts } = await pass('reconcile', { resolve: async () => ({ kind: 'tombstone' }) });
  expect(counts).toMatchObject({ looked: 1, closed: 1, failed: 0 });
  expect(await run.row()).toMatchObject({
    status: 'terminated',
    stop_reason: 'terminated',
    closed_at: expect.any(Date),
  });
  expect(await run.call('1.0')).toMatchObject({ state: 'cancelled' });
  expect(await run.costs()).toMatchObject([{ state: 'charged' }]);
  expect((await pass('reconcile')).counts).toMatchObject({ looked: 0 });
});

test('a run that is still running, or only just started, is left alone', async () => {
  const [running, fresh] = [await old(), await old({ workflow_started_at: new Date() })];
  await start(running);
  expect((await pass('reconcile')).counts).toMatchObject({ looked: 1, closed: 0, failed: 0 });
  expect(await running.row()).toMatchObject({ closed_at: null });
  expect(await fresh.row()).toMatchObject({ closed_at: null });
});

test('a run whose workflow is gone is closed, without knowing what became of a call that cannot be asked about', async () => {
  const run = await old();
  await run.judge('1.0', { state: 'started', attempts: 1 });
  // A catalog that is only just away is waited for.
  expect((await pass('reconcile')).counts).toMatchObject({ looked: 1, closed: 0, failed: 1 });
  await bench.database.query(
    "update steward.agent_runs set workflow_started_at = now() - interval '6 minutes' where id = $1",
    [run.ref.run],
  );
  expect((await pass('reconcile')).counts).toMatchObject({ looked: 1, closed: 1, failed: 0 });
  expect(await run.row()).toMatchObject({ status: 'terminated', stop_message: 'was deleted in Temporal' });
  expect(await run.call('1.0')).toMatchObject({ state: 'outcome_unknown' });

  // It is asked again after the end, and what took place can be told and undone.
  expect((await pass('reconcile')).counts).toMatchObject({ settled: 0, failed: 0 });
  const resolve = async () => ({ ...RECEIPT, undoable: true });
  expect((await pass('reconcile', { resolve })).counts).toMatchObject({ settled: 1 });
  expect(await run.call('1.0')).toMatchObject({ state: 'done', undoable: true });
  expect((await pass('reconcile', { resolve })).counts).toMatchObject({ settled: 0 });
});

test('a workflow that timed out closes its run as failed', async () => {
  const run = await old();
  const handle = await temporal.client.workflow.start(RUN_WORKFLOW, {
    workflowId: workflowIdOf(run.ref.run),
    taskQueue: 'nobody',
    args: [],
    workflowExecutionTimeout: '1s',
  });
  await handle.result().catch(() => undefined);
  expect((await pass('reconcile')).counts).toMatchObject({ closed: 1 });
  expect(await run.row()).toMatchObject({ status: 'failed', stop_reason: 'timed_out' });
});

test('while Temporal is away nothing is closed, and every run is left to the next pass', async () => {
  const runs = [await old(), await old()];
  const nowhere = connectTemporal({ address: `127.0.0.1:${await freePort()}`, namespace: 'steward' });
  const { counts, log } = await pass('reconcile', { temporal: nowhere });
  await nowhere.close();
  expect(counts).toMatchObject({ looked: 2, closed: 0, failed: 2 });
  expect(log).toHaveLength(2);
  for (const run of runs) expect(await run.row()).toMatchObject({ closed_at: null });
});

test('one run that cannot be closed keeps no other from it', async () => {
  const [bad, good] = [await old(), await old()];
  await bench.database.query("update steward.agent_runs set run_grant = 'forged' where id = $1", [bad.ref.run]);
  expect((await pass('reconcile')).counts).toMatchObject({ looked: 2, closed: 1, failed: 1 });
  expect(await bad.row()).toMatchObject({ closed_at: null });
  expect(await good.row()).toMatchObject({ status: 'terminated' });
});

test('dead model calls are charged, once their time is up, and the journal says so', async () => {
  const run = await old();
  const { id } = await run.open(1);
  expect((await pass('sweep')).counts).toMatchObject({ charged: 0 });
  await bench.database.query('update steward.agent_run_costs set deadline_at = now() where attempt_id = $1', [id]);
  expect((await pass('sweep')).counts).toMatchObject({ charged: 1, failed: 0 });
  expect((await pass('sweep')).counts).toMatchObject({ charged: 0 });
  expect(await run.account()).toMatchObject({ reserved_micro_usd: 0, settled_micro_usd: 6_250 });
  expect((await run.events()).at(-1)).toMatchObject({ kind: 'turn.failed', turn: 1, data: { cost: 6_250 } });
});

test('a run whose start was lost is started, and one that is queued gets a free slot', async () => {
  const lost = await old({ status: 'pending', workflow_started_at: null });
  const queued = await old({ status: 'queued', workflow_started_at: null, admitted_at: null });
  const { counts } = await pass('sweep');
  expect(counts).toMatchObject({ restarted: 1, promoted: 1, failed: 0 });
  for (const run of [lost, queued]) {
    const { status } = await temporal.client.workflow.getHandle(workflowIdOf(run.ref.run)).describe();
    expect(status.name).toBe('RUNNING');
    expect(await run.row()).toMatchObject({ status: 'pending', workflow_started_at: expect.any(Date) });
  }
  expect((await pass('sweep')).counts).toMatchObject({ restarted: 0, promoted: 0 });
});

test('runs queued over the daily cap are started after midnight, the oldest first, also where who freed the slot has died', async () => {
  const tenant = await bench.database.tenant({ max_runs_per_day: 2, max_concurrent_runs: 5 });
  const yesterday = new Date(Date.now() - 24 * 3_600_000);
  for (let nth = 0; nth < 2; nth += 1) {
    await bench.run({ tenant, columns: { status: 'completed', admitted_at: yesterday, closed_at: yesterday } });
  }
  const waits = { status: 'queued', workflow_started_at: null, admitted_at: null, waits_until: new Date() };
  const queued: SeededRun[] = [];
  for (const minutes of [3, 2, 1]) {
    const created_at = new Date(Date.now() - minutes * 60_000);
    queued.push(await bench.run({ tenant, columns: { ...waits, created_at } }));
  }
  // As a process that is killed between its commit and the delivery leaves it.
  await withTenant(bench.db, tenant, (trx) => startQueued(trx, tenant));
  const statuses = () => Promise.all(queued.map(async (run) => (await run.row()).status as string));
  expect(await statuses()).toEqual(['pending', 'pending', 'queued']);
  expect((await pass('outbox')).counts).toEqual({ delivered: 2, failed: 0 });
  for (const run of queued.slice(0, 2)) {
    const { status } = await temporal.client.workflow.getHandle(workflowIdOf(run.ref.run)).describe();
    expect(status.name).toBe('RUNNING');
  }
  // The third one has its day, too: this one is used up again.
  expect((await pass('sweep')).counts).toMatchObject({ promoted: 0 });
  await bench.database.query(
    'update steward.agent_runs set admitted_at = $2 where tenant = $1 and admitted_at is not null',
    [tenant, yesterday],
  );
  expect((await pass('sweep')).counts).toMatchObject({ promoted: 1 });
  expect(await statuses()).toEqual(['pending', 'pending', 'pending']);
});

test('what is owed is delivered, tenant by tenant', async () => {
  const runs = [await old(), await old()];
  for (const run of runs) {
    await start(run);
    await bench.database.query(
      'insert into steward.outbox (tenant, kind, run_id, payload) values ($1, \'pause\', $2, \'{"by":"op"}\')',
      [run.ref.tenant, run.ref.run],
    );
  }
  expect((await pass('outbox')).counts).toEqual({ delivered: 2, failed: 0 });
  expect((await pass('outbox')).counts).toEqual({ delivered: 0, failed: 0 });
});
