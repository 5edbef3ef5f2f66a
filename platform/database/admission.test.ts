import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { isStewardError } from '#domain/errors.ts';
import { type StewardDatabase, stewardDatabase } from '#test/support/steward-database.ts';
import { admit, lockAdmission, startQueued } from './admission.ts';
import { type Connection, connect } from './connect.ts';
import type { Database } from './tables.ts';
import { withTenant } from './tenant.ts';

let database: StewardDatabase;
let worker: Connection<Database>;

beforeAll(async () => {
  database = await stewardDatabase();
  // The role with the fewest rights of those that admit.
  worker = connect<Database>(await database.urlAs('steward_worker'), { max: 20 });
}, 120_000);

afterAll(async () => {
  await worker.close();
  await database.drop();
}, 30_000);

const queued = { status: 'queued', admitted_at: null, workflow_started_at: null };

/** Runs in the queue, oldest first. */
async function queue(tenant: string, count: number, more: Readonly<Record<string, unknown>> = {}): Promise<string[]> {
  const ids: string[] = [];
  for (let i = 0; i < count; i += 1) {
    const created = new Date(Date.now() - 60_000 + i);
    const until = new Date(created.getTime() + 24 * 3_600_000);
    ids.push(await database.run(tenant, { ...queued, created_at: created, waits_until: until, ...more }));
  }
  return ids;
}

const promote = (tenant: string) => withTenant(worker.db, tenant, (trx) => startQueued(trx, tenant));
const statuses = async (ids: readonly string[]): Promise<Record<string, string>> =>
  Object.fromEntries(
    (
      await database.query<{ id: string; status: string }>(
        'select id, status from steward.agent_runs where id = any($1)',
        [ids],
      )
    ).map((row) => [row.id, row.status]),
  );

test('free slots go to the oldest, each once, however many free them at the same time', async () => {
  const tenant = await database.tenant({ max_concurrent_runs: 5 });
  const running = await database.run(tenant);
  const ids = await queue(tenant, 10);
  const promoted = (await Promise.all(Array.from({ length: 8 }, () => promote(tenant)))).flat();
  expect(promoted).toHaveLength(4);
  const after = await statuses(ids);
  expect(ids.map((id) => after[id])).toEqual([...Array(4).fill('pending'), ...Array(6).fill('queued')]);
  const starts = await database.query('select run_id from steward.outbox where tenant = $1 order by id', [tenant]);
  expect(starts.map((row) => row.run_id).toSorted()).toEqual(ids.slice(0, 4).toSorted());
  await database.query("update steward.agent_runs set closed_at = now(), status = 'completed' where id = $1", [
    running,
  ]);
  expect(await promote(tenant)).toHaveLength(1);
  expect((await statuses(ids))[ids[4] as string]).toBe('pending');
});

test('the daily cap counts what was admitted since midnight (UTC), not what was asked for', async () => {
  const tenant = await database.tenant({ max_runs_per_day: 2 });
  const closed = { status: 'completed', closed_at: new Date() };
  await database.run(tenant, { ...closed, admitted_at: new Date(Date.now() - 48 * 3_600_000) });
  await database.run(tenant, closed);
  const ids = await queue(tenant, 3, { created_at: new Date(Date.now() - 30 * 3_600_000) });
  expect(await promote(tenant)).toHaveLength(1);
  expect(await promote(tenant)).toHaveLength(0);
  const after = Object.values(await statuses(ids));
  expect(after.filter((status) => status === 'pending')).toHaveLength(1);
});

test('who waited for a day and meets no slot waits on; who waited long enough is closed', async () => {
  const tenant = await database.tenant({ max_concurrent_runs: 1 });
  await database.run(tenant);
  const hour = 3_600_000;
  const past = new Date(Date.now() - 1_000);
  const day = await database.run(tenant, {
    ...queued,
    created_at: new Date(Date.now() - 10 * hour),
    waits_until: past,
  });
  const slot = await database.run(tenant, {
    ...queued,
    created_at: new Date(past.getTime() - 24 * hour),
    waits_until: past,
  });
  const fresh = await database.run(tenant, { ...queued, waits_until: new Date(Date.now() + 24 * hour) });
  expect(await promote(tenant)).toEqual([]);
  const rows = await database.query(
    'select id, status, stop_message, waits_until, closed_at from steward.agent_runs where id = any($1)',
    [[day, slot, fresh]],
  );
  const by = (id: string) => rows.find((row) => row.id === id);
  expect(by(day)).toMatchObject({ status: 'queued', stop_message: 'all 1 slots of the tenant are taken' });
  expect(by(day)?.waits_until.getTime()).toBeGreaterThan(Date.now() + 23 * hour);
  expect(by(slot)).toMatchObject({ status: 'cancelled', closed_at: expect.any(Date) });
  expect(by(fresh)).toMatchObject({ status: 'queued' });
  const events = await database.query('select run_id, kind from steward.agent_run_events where run_id = any($1)', [
    [day, slot],
  ]);
  expect(events.map((row) => [row.run_id, row.kind])).toEqual(
    expect.arrayContaining([
      [day, 'run.queued'],
      [slot, 'run.closed'],
    ]),
  );
});

test('a row that someone else holds does not hold up the queue', async () => {
  const tenant = await database.tenant();
  const ids = await queue(tenant, 2);
  const held = Promise.withResolvers<void>();
  const release = Promise.withResolvers<void>();
  const holder = withTenant(worker.db, tenant, async (trx) => {
    await trx
      .selectFrom('agent_runs')
      .select('id')
      .where('id', '=', ids[0] as string)
      .forUpdate()
      .execute();
    held.resolve();
    await release.promise;
  });
  await held.promise;
  expect(await promote(tenant)).toHaveLength(1);
  release.resolve();
  await holder;
  expect(await promote(tenant)).toHaveLength(1);
});

test('a newcomer never overtakes the queue, and tenants do not wait for each other', async () => {
  const tenant = await database.tenant({ max_concurrent_runs: 2 });
  await queue(tenant, 5);
  const { admission, outbox } = await withTenant(worker.db, tenant, (trx) => admit(trx, tenant));
  expect(outbox).toHaveLength(2);
  expect(admission.kind).toBe('queued');
  const other = await database.tenant();
  await withTenant(worker.db, tenant, async (trx) => {
    await lockAdmission(trx, tenant);
    const answer = await withTenant(worker.db, other, (inner) => admit(inner, other));
    expect(answer.admission).toEqual({ kind: 'admitted' });
  });
  const nobody = await withTenant(worker.db, 'nobody', (trx) => admit(trx, 'nobody')).catch((error: unknown) => error);
  expect(isStewardError(nobody) && nobody.code).toBe('NOT_FOUND');
});
