import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { isStewardError } from '#domain/errors.ts';
import { type RunEvent, RunService, type WatchRunResponse } from '#gen/steward/run/v1/run_service_pb.ts';
import { connect as connectDatabase } from '#platform/database/connect.ts';
import { type NewEvent, record } from '#platform/database/journal.ts';
import { notifier } from '#platform/database/notify.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { connect } from '#platform/grpc/client.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type RunApiBench, runApiBench } from '#test/support/run-api.ts';
import { createHub } from '../hub.ts';
import { type WatchTimes, watchRun } from './watch-run.ts';

let bench: RunApiBench;
let pool: ReturnType<typeof connectDatabase<Database>>;

beforeAll(async () => {
  bench = await runApiBench();
  pool = connectDatabase<Database>(await bench.database.urlAs('steward_worker'), { max: 10 });
}, 120_000);

afterAll(async () => {
  await pool.close();
  await bench.stop();
}, 60_000);

const note = (text: string): NewEvent => ({
  kind: 'turn.failed',
  turn: 1,
  data: { code: 'X', message: text, cost: 1, retrying: true },
});
const end: NewEvent = {
  kind: 'run.closed',
  data: { status: 'completed', reason: null, message: '', cost: 0, outcome: 'done' },
};

/** Writes as the worker does, and notifies nobody. */
const write = (tenant: string, run: string, events: readonly NewEvent[]) =>
  withTenant(pool.db, tenant, (trx) => record(trx, tenant, run, { events }));

async function close(tenant: string, run: string): Promise<void> {
  await withTenant(pool.db, tenant, async (trx) => {
    await record(trx, tenant, run, { events: [end] });
    await trx
      .updateTable('agent_runs')
      .set({ status: 'completed', closed_at: new Date() })
      .where('id', '=', run)
      .execute();
  });
}

const addText = (tenant: string, run: string, turn: number, attempt: number, start: number, text: string) =>
  withTenant(pool.db, tenant, (trx) =>
    trx.insertInto('agent_run_text_deltas').values({ tenant, run_id: run, turn, attempt, start, text }).execute(),
  );

const eventsIn = (items: readonly WatchRunResponse[]): RunEvent[] =>
  items.flatMap(({ item }) => (item.case === 'event' ? [item.value] : []));

/** All of a stream. `onItem` may steer while it goes on. */
async function collect(
  stream: AsyncIterable<WatchRunResponse>,
  onItem: (item: WatchRunResponse, index: number) => Promise<void> | void = () => {},
): Promise<WatchRunResponse[]> {
  const items: WatchRunResponse[] = [];
  for await (const item of stream) {
    items.push(item);
    await onItem(item, items.length - 1);
  }
  return items;
}

test('every event once, in order, live, to the end; without a single notification', async () => {
  const tenant = await bench.database.tenant();
  const run = await bench.database.run(tenant);
  await write(tenant, run, [note('1'), note('2')]);
  const items = await collect(bench.as({ tenant }).runs.watchRun({ runId: run }), async (_item, index) => {
    if (index === 1) await write(tenant, run, [note('3')]);
    if (index === 2) await close(tenant, run);
  });
  expect(eventsIn(items).map((event) => [Number(event.sequence), event.kind])).toEqual([
    [1, 'turn.failed'],
    [2, 'turn.failed'],
    [3, 'turn.failed'],
    [4, 'run.closed'],
  ]);
  expect(eventsIn(items)[0]).toMatchObject({ turn: 1, callId: '', data: { message: '1', cost: 1, retrying: true } });
  expect(eventsIn(items)[0]?.time).toBeDefined();
});

test('a stream resumes after any sequence, and one at the end of a closed run ends', async () => {
  const tenant = await bench.database.tenant();
  const run = await bench.database.run(tenant);
  await write(
    tenant,
    run,
    Array.from({ length: 450 }, (_, i) => note(String(i + 1))),
  );
  await close(tenant, run);
  const { runs } = bench.as({ tenant });
  for (const after of [0, 1, 199, 200, 449, 450]) {
    const items = await collect(runs.watchRun({ runId: run, afterSequence: BigInt(after) }));
    expect(eventsIn(items).map((event) => Number(event.sequence))).toEqual(
      Array.from({ length: 451 - after }, (_, i) => after + i + 1),
    );
  }
  expect(await collect(runs.watchRun({ runId: run, afterSequence: 451n }))).toEqual([]);
  for (const afterSequence of [452n, -1n]) {
    const error = await stewardErrorOf(collect(runs.watchRun({ runId: run, afterSequence })));
    expect(error.code).toBe('INVALID_REQUEST');
  }
});

test('writers that race leave no gap', async () => {
  const tenant = await bench.database.tenant();
  const run = await bench.database.run(tenant);
  const reading = collect(bench.as({ tenant }).runs.watchRun({ runId: run }));
  const wake = notifier(pool.db);
  await Promise.all(
    Array.from({ length: 40 }, async (_, i) => {
      await write(tenant, run, [note(`a${i}`), note(`b${i}`)]);
      wake.wake(run);
    }),
  );
  await close(tenant, run);
  wake.wake(run);
  const events = eventsIn(await reading);
  await wake.close();
  expect(events.map((event) => Number(event.sequence))).toEqual(Array.from({ length: 81 }, (_, i) => i + 1));
});

test('text comes as it is written, a new attempt replaces the old one, and stored text is not sent again', async () => {
  const tenant = await bench.database.tenant();
  const run = await bench.database.run(tenant, { turns: 1 });
  await addText(tenant, run, 1, 1, 0, 'left over from turn 1');
  await write(tenant, run, [note('1')]);
  await addText(tenant, run, 2, 1, 0, 'Hel');
  await addText(tenant, run, 2, 1, 3, 'lo');
  const wake = notifier(pool.db);
  const items = await collect(
    bench.as({ tenant }).runs.watchRun({ runId: run, textDeltas: true }),
    async (_item, index) => {
      if (index === 2) {
        await addText(tenant, run, 2, 2, 0, 'Good ');
        // A zombie of the first attempt is not heard any more.
        await addText(tenant, run, 2, 1, 5, '!!');
        wake.wake(run);
      }
      if (index === 3) await close(tenant, run);
    },
  );
  await wake.close();
  const said = items.flatMap(({ item }) => (item.case === 'textDelta' ? [item.value] : []));
  expect(said.map(({ turn, attempt, offset, text }) => [turn, attempt, offset, text])).toEqual([
    [2, 1, 0, 'Hel'],
    [2, 1, 3, 'lo'],
    [2, 2, 0, 'Good '],
  ]);
  const without = await collect(bench.as({ tenant }).runs.watchRun({ runId: run }));
  expect(without.every(({ item }) => item.case === 'event')).toBe(true);
});

test('foreign and hidden runs do not exist, and asking for one does not deafen its watchers', async () => {
  const tenant = await bench.database.tenant();
  const run = await bench.database.run(tenant);
  await write(tenant, run, [note('1')]);
  const other = await bench.database.tenant();
  const wake = notifier(pool.db);
  const seen: number[] = [];
  await collect(bench.as({ tenant }).runs.watchRun({ runId: run }), async (_item, index) => {
    seen.push(index);
    if (index > 0) return;
    for (const caller of [{ tenant: other }, { tenant, subject: 'eve@acme', roles: ['user'] }] as const) {
      const error = await stewardErrorOf(collect(bench.as(caller).runs.watchRun({ runId: run })));
      expect(error.code).toBe('NOT_FOUND');
    }
    await close(tenant, run);
    wake.wake(run);
  });
  await wake.close();
  expect(seen).toEqual([0, 1]);
});

/** The handler itself, for what no real client can be made to do on time. */
async function served(tenant: string, limits: { most?: number; mostOfTenant?: number; lookMs?: number } = {}) {
  const url = await bench.database.urlAs('steward_run_api');
  const own = connectDatabase<Database>(url, { max: 2 });
  const hub = createHub({ url, db: own.db, ...limits });
  const abort = new AbortController();
  const ctx: CallContext = {
    principal: {
      tenant,
      subject: 'op',
      roles: ['operator'],
      onBehalfOf: null,
      expiresAt: new Date(Date.now() + 60_000),
    },
    signal: abort.signal,
    deadline: new Date(Date.now() + 60_000),
    method: 'steward.run.v1.RunService/WatchRun',
    metadata: { get: () => undefined },
  };
  type Deps = Parameters<typeof watchRun>[1];
  type Request = Parameters<typeof watchRun>[2];
  const deps = { db: own.db, hub } as unknown as Deps;
  return {
    abort,
    follow: (whose: string, runId: string) => hub.follow(whose, runId),
    watch: (runId: string, times?: WatchTimes) => {
      const request = { runId, afterSequence: 0n, textDeltas: false } as Request;
      return watchRun(ctx, deps, request, times);
    },
    async stop() {
      await hub.close();
      await own.close();
    },
  };
}

test('a notification is heard without a look', async () => {
  const tenant = await bench.database.tenant();
  const run = await bench.database.run(tenant);
  const server = await served(tenant, { lookMs: 600_000 });
  const wake = notifier(pool.db);
  const follower = server.follow(tenant, run);
  const { signal } = new AbortController();
  // The first may be the connection that has come to stand; from then on there is nothing else to be heard.
  for (let heard = 0; heard < 3; heard += 1) {
    wake.wake(run);
    expect(await follower.changed(20_000, signal)).toBe(true);
  }
  follower.close();
  await wake.close();
  await server.stop();
});

test('a slow reader is told from where to read again, and the stream ends', async () => {
  const tenant = await bench.database.tenant();
  const run = await bench.database.run(tenant);
  await write(tenant, run, [note('1'), note('2'), note('3')]);
  const server = await served(tenant);
  const stream = server.watch(run, { slowMs: 20, heartbeatMs: 15_000 });
  expect((await stream.next()).value).toMatchObject({ item: { case: 'event', value: { sequence: 1n } } });
  expect((await stream.next()).value).toMatchObject({ item: { case: 'event', value: { sequence: 2n } } });
  // The reader lets the second one lie for longer than it may.
  const until = performance.now() + 30;
  while (performance.now() < until) await new Promise(setImmediate);
  expect((await stream.next()).value).toMatchObject({ item: { case: 'resync', value: { afterSequence: 2n } } });
  expect((await stream.next()).done).toBe(true);
  await server.stop();
});

test('silence is broken by heartbeats that say how far the run is', async () => {
  const tenant = await bench.database.tenant();
  const run = await bench.database.run(tenant);
  await write(tenant, run, [note('1')]);
  const server = await served(tenant);
  const stream = server.watch(run, { slowMs: 60_000, heartbeatMs: 30 });
  expect((await stream.next()).value).toMatchObject({ item: { case: 'event' } });
  for (let i = 0; i < 3; i += 1) {
    expect((await stream.next()).value).toMatchObject({ item: { case: 'heartbeat', value: { head: 1n } } });
  }
  await stream.return();
  await server.stop();
});

test('after the database has dropped every connection, a resumed stream goes on without a gap', async () => {
  const tenant = await bench.database.tenant();
  const run = await bench.database.run(tenant);
  await write(tenant, run, [note('1')]);
  const { runs } = bench.as({ tenant });
  const seen: number[] = [];
  for (let tries = 0; tries < 10 && seen.length < 3; tries += 1) {
    try {
      await collect(runs.watchRun({ runId: run, afterSequence: BigInt(seen.at(-1) ?? 0) }), async ({ item }) => {
        if (item.case !== 'event') return;
        seen.push(Number(item.value.sequence));
        if (seen.length > 1) return;
        await bench.database.query(
          "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'steward-run-api%' and datname = current_database()",
        );
        await write(tenant, run, [note('2')]);
        await close(tenant, run);
      });
    } catch (error) {
      if (!isStewardError(error) || error.code !== 'UNAVAILABLE') throw error;
    }
  }
  expect(seen).toEqual([1, 2, 3]);
});

test('a stream ends with its signal, and gives its place back', async () => {
  const tenant = await bench.database.tenant();
  const run = await bench.database.run(tenant);
  const server = await served(tenant, { most: 1 });
  const first = server.watch(run);
  const waiting = first.next();
  await new Promise(setImmediate);
  expect((await stewardErrorOf(server.watch(run).next())).code).toBe('LIMIT_REACHED');
  server.abort.abort(new Error('gone'));
  await expect(waiting).rejects.toThrow('gone');
  await expect(server.watch(run).next()).rejects.toThrow('gone');
  await server.stop();
});

test('one tenant cannot take the places of the others', async () => {
  const server = await served('acme', { most: 10, mostOfTenant: 2 });
  const [first] = [server.follow('acme', 'run-00001'), server.follow('acme', 'run-00002')];
  expect(() => server.follow('acme', 'run-00001')).toThrow('too many streams');
  server.follow('globex', 'run-00001').close();
  first?.close();
  first?.close();
  server.follow('acme', 'run-00003').close();
  await server.stop();
});

test('an event too large for a message is told without its fields, and those after it come', async () => {
  const tenant = await bench.database.tenant();
  const run = await bench.database.run(tenant);
  const before = Array.from({ length: 120_000 }, () => 0);
  const change = { summary: 'sum', fields: [{ record: 'r/1', field: 'f', before }], quantities: { rows: 1 } };
  await write(tenant, run, [
    { kind: 'tool.done', turn: 1, callId: '1.0', data: { tool: 't', change, undoable: true, repeated: false } },
    note('x'.repeat(400_000)),
    note('after'),
  ]);
  await close(tenant, run);
  const connection = connect(RunService, { address: bench.address, token: () => bench.issuer.token({ tenant }) });
  const events = eventsIn(await collect(connection.client.watchRun({ runId: run })));
  connection.close();
  expect(events.map((event) => event.kind)).toEqual(['tool.done', 'turn.failed', 'turn.failed', 'run.closed']);
  expect(events[0]?.data).toMatchObject({ tool: 't', change: { ...change, fields: [] }, undoable: true });
  expect(events[1]?.data).toMatchObject({ left_out: true });
  expect(events[2]?.data).toMatchObject({ message: 'after' });
});

test('a reader may leave at any time', async () => {
  const tenant = await bench.database.tenant();
  const run = await bench.database.run(tenant);
  await write(tenant, run, [note('1')]);
  const connection = connect(RunService, { address: bench.address, token: () => bench.issuer.token({ tenant }) });
  const abort = new AbortController();
  const reading = collect(connection.client.watchRun({ runId: run }, { signal: abort.signal }), () => abort.abort());
  expect((await stewardErrorOf(reading)).code).toBe('CANCELLED');
  connection.close();
});
