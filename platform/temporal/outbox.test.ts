import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { freePort } from '#deploy/dev/ports.ts';
import type { RunningTemporal } from '#deploy/dev/temporal.ts';
import { type Connection, connect } from '#platform/database/connect.ts';
import { enqueue, type Owed } from '#platform/database/outbox.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import { keepLog } from '#test/support/rpc.ts';
import { type StewardDatabase, stewardDatabase } from '#test/support/steward-database.ts';
import { testTemporal } from '#test/support/temporal.ts';
import { connectTemporal, type Temporal } from './client.ts';
import { deliver } from './outbox.ts';

let database: StewardDatabase;
let pool: Connection<Database>;
let server: RunningTemporal;
let temporal: Temporal;
let nowhere: Temporal;

beforeAll(async () => {
  [database, server] = await Promise.all([stewardDatabase(), testTemporal()]);
  pool = connect<Database>(await database.urlAs('steward_run_api'));
  temporal = connectTemporal({ address: server.address, namespace: server.namespace });
  nowhere = connectTemporal({ address: `127.0.0.1:${await freePort()}`, namespace: 'steward' });
}, 180_000);

afterAll(async () => {
  await pool.close();
  await Promise.all([temporal.close(), nowhere.close(), server.stop(), database.drop()]);
}, 60_000);

const owe = (tenant: string, owed: Owed): Promise<number> =>
  withTenant(pool.db, tenant, (trx) => enqueue(trx, tenant, owed));

interface Row {
  readonly [column: string]: unknown;
}
const row = async (id: number): Promise<Row> =>
  (await database.query<Row>('select * from steward.outbox where id = $1', [id]))[0] as Row;

async function newRun(): Promise<{ tenant: string; run: string }> {
  const tenant = await database.tenant();
  return { tenant, run: await database.run(tenant, { status: 'pending', workflow_started_at: null }) };
}

test('starts the workflow once, findable by its attributes, and says so on the run', async () => {
  const { tenant, run } = await newRun();
  const deps = { db: pool.db, temporal, log: keepLog() };
  const id = await owe(tenant, { kind: 'start', runId: run });
  // As many deliverers as like: one of them does it.
  const all = await Promise.all(Array.from({ length: 5 }, () => deliver(deps, tenant, [id])));
  expect(all.reduce((sum, each) => sum + each.delivered, 0)).toBe(1);
  const description = await temporal.client.workflow.getHandle(`run/${run}`).describe();
  expect(description.type).toBe('agentRun');
  expect(description.memo).toEqual({ tenant, agent: 'helper', actingUser: 'ann@acme' });
  const attributes = Object.fromEntries(description.typedSearchAttributes.getAll().map((a) => [a.key.name, a.value]));
  expect(attributes).toMatchObject({
    Tenant: tenant,
    AgentName: 'helper',
    AgentVersion: 'aaaaaaaaaaaa',
    Initiator: 'shop@acme',
  });
  expect(await description.staticSummary()).toContain('helper for ann@acme');
  const [stored] = await database.query('select workflow_started_at from steward.agent_runs where id = $1', [run]);
  expect(stored?.workflow_started_at).toBeInstanceOf(Date);
  expect(await row(id)).toMatchObject({ attempts: 1, last_error: null, delivered_at: expect.any(Date) });

  // Whose answer was lost is delivered again, and finds it started.
  const again = await owe(tenant, { kind: 'start', runId: run });
  expect(await deliver(deps, tenant, [again])).toEqual({ delivered: 1, failed: 0 });
});

test('what a run is told keeps its order, and reaches its workflow', async () => {
  const { tenant, run } = await newRun();
  const log = keepLog();
  const ids = [
    await owe(tenant, { kind: 'start', runId: run }),
    await owe(tenant, { kind: 'pause', runId: run, payload: { by: 'op' } }),
    await owe(tenant, { kind: 'resume', runId: run, payload: { by: 'op' } }),
    await owe(tenant, { kind: 'decide_approval', runId: run, payload: { approvalId: 'a', digest: 'd' } }),
    await owe(tenant, { kind: 'raise_budget', runId: run, payload: { raiseId: 'r' } }),
    await owe(tenant, { kind: 'cancel', runId: run }),
  ];
  // The last one takes along what stands before it.
  expect(await deliver({ db: pool.db, temporal, log }, tenant, ids.slice(-1))).toEqual({ delivered: 6, failed: 0 });
  const { events } = await temporal.client.workflow.getHandle(`run/${run}`).fetchHistory();
  const told = (events ?? []).flatMap((event) => {
    const signal = event.workflowExecutionSignaledEventAttributes?.signalName;
    return signal ?? (event.workflowExecutionCancelRequestedEventAttributes ? 'cancel' : []);
  });
  expect(told).toEqual(['pauseRun', 'resumeRun', 'decideApproval', 'raiseBudget', 'cancel']);
});

test('while Temporal is away rows wait, and nothing overtakes', async () => {
  const { tenant, run } = await newRun();
  const log = keepLog();
  const start = await owe(tenant, { kind: 'start', runId: run });
  const pause = await owe(tenant, { kind: 'pause', runId: run, payload: { by: 'op' } });
  const began = Date.now();
  expect(await deliver({ db: pool.db, temporal: nowhere, log }, tenant, [start])).toEqual({ delivered: 0, failed: 1 });
  expect(Date.now() - began).toBeLessThan(4_500);
  expect(await row(start)).toMatchObject({ attempts: 1, delivered_at: null, last_error: expect.any(String) });
  expect(log.lines).toHaveLength(1);
  // Not due yet, and the later one does not go first.
  expect(await deliver({ db: pool.db, temporal, log }, tenant, [pause])).toEqual({ delivered: 0, failed: 0 });
  expect(await deliver({ db: pool.db, temporal, log }, tenant, 'due')).toEqual({ delivered: 0, failed: 0 });
  await database.query('update steward.outbox set held_until = now() where id = $1', [start]);
  expect(await deliver({ db: pool.db, temporal, log }, tenant, 'due')).toEqual({ delivered: 2, failed: 0 });
});

test('a cancel does not wait behind what Temporal will not take, and does wait for the start', async () => {
  const { tenant, run } = await newRun();
  const deps = { db: pool.db, temporal, log: keepLog() };
  const start = await owe(tenant, { kind: 'start', runId: run });
  const failing = "update steward.outbox set attempts = 1, held_until = now() + interval '1 hour' where id = $1";
  await database.query(failing, [start]);
  const cancel = await owe(tenant, { kind: 'cancel', runId: run });
  expect(await deliver(deps, tenant, [cancel])).toEqual({ delivered: 0, failed: 0 });
  await database.query('update steward.outbox set held_until = now() where id = $1', [start]);
  expect(await deliver(deps, tenant, [start])).toEqual({ delivered: 1, failed: 0 });
  const refused = await owe(tenant, {
    kind: 'decide_approval',
    runId: run,
    payload: { approvalId: 'a', digest: 'd' },
  });
  await database.query(failing, [refused]);
  const stop = await owe(tenant, { kind: 'cancel', runId: run });
  expect(await deliver(deps, tenant, [stop])).toEqual({ delivered: 2, failed: 0 });
  expect(await row(cancel)).toMatchObject({ delivered_at: expect.any(Date) });
  expect(await row(refused)).toMatchObject({ delivered_at: null });
});

test('what a workflow cannot hear any more counts as delivered and says why', async () => {
  const tenant = await database.tenant();
  const log = keepLog();
  const gone = await database.run(tenant);
  const signal = await owe(tenant, { kind: 'pause', runId: gone, payload: { by: 'op' } });
  const cancel = await owe(tenant, { kind: 'cancel', runId: gone });
  const closed = await database.run(tenant, { status: 'cancelled', closed_at: new Date(), workflow_started_at: null });
  const start = await owe(tenant, { kind: 'start', runId: closed });
  expect(await deliver({ db: pool.db, temporal, log }, tenant, 'due')).toEqual({ delivered: 3, failed: 0 });
  expect(await row(signal)).toMatchObject({ last_error: 'The workflow has closed or is gone.' });
  expect(await row(cancel)).toMatchObject({ last_error: 'The workflow has closed or is gone.' });
  expect(await row(start)).toMatchObject({ last_error: 'The run has closed.' });
  await expect(temporal.client.workflow.getHandle(`run/${closed}`).describe()).rejects.toThrow();
});

test("another tenant's rows are out of reach, and the limit is kept", async () => {
  const { tenant, run } = await newRun();
  const other = await database.tenant();
  const id = await owe(tenant, { kind: 'start', runId: run });
  const deps = { db: pool.db, temporal, log: keepLog() };
  expect(await deliver(deps, other, [id])).toEqual({ delivered: 0, failed: 0 });
  const more = await database.run(tenant, { status: 'pending', workflow_started_at: null });
  await owe(tenant, { kind: 'start', runId: more });
  expect(await deliver(deps, tenant, 'due', 1)).toEqual({ delivered: 1, failed: 0 });
  expect(await deliver(deps, tenant, 'due', 1)).toEqual({ delivered: 1, failed: 0 });
  expect(await deliver(deps, tenant, 'due', 1)).toEqual({ delivered: 0, failed: 0 });
});
