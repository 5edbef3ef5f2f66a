import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { StopWork, UnderWay } from '#activities/run-context.ts';
import { type Connection, connect } from '#platform/database/connect.ts';
import { notifier } from '#platform/database/notify.ts';
import { SWITCH_CHANNEL } from '#platform/database/switches.ts';
import type { Database } from '#platform/database/tables.ts';
import { type StewardDatabase, stewardDatabase } from '#test/support/steward-database.ts';
import { listenForStops } from './stop-push.ts';

let database: StewardDatabase;
let pool: Connection<Database>;

beforeAll(async () => {
  database = await stewardDatabase();
  pool = connect<Database>(await database.urlAs('steward_worker'));
}, 120_000);

afterAll(async () => {
  await pool.close();
  await database.drop();
});

const listening = () => listenForStops({ url: database.url, db: pool.db });

/** Work that says what it was stopped for. */
function worker(push: ReturnType<typeof listening>, work: UnderWay) {
  const heard = Promise.withResolvers<StopWork>();
  const told: StopWork[] = [];
  const forget = push.onStop(work, (what) => {
    told.push(what);
    heard.resolve(what);
  });
  return { told, heard: heard.promise, forget };
}

/** Without a notification: found by looking alone. */
async function put(tenant: string, columns: Readonly<Record<string, unknown>>): Promise<string> {
  const id = crypto.randomUUID();
  const row = {
    tenant,
    id,
    scope: 'tenant',
    mode: 'kill',
    action: 'cancel',
    reason: 'test',
    set_by: 'olga',
    ...columns,
  };
  const names = Object.keys(row);
  await database.query(
    `insert into steward.kill_switches (${names.join(', ')}) values (${names.map((_, at) => `$${at + 1}`).join(', ')})`,
    Object.values(row),
  );
  return id;
}

const lift = (id: string) =>
  database.query("update steward.kill_switches set lifted_at = now(), lifted_by = 'olga' where id = $1", [id]);

test('a stop reaches every activity of its run and of no other, until they are over', async () => {
  const push = listening();
  await push.ready;
  const tell = notifier(pool.db);
  const [a, b] = [worker(push, { tenant: 't', run: 'r1' }), worker(push, { tenant: 't', run: 'r1', call: '1.0' })];
  const other = worker(push, { tenant: 't', run: 'r2' });
  tell.cancel('r1');
  expect(await Promise.all([a.heard, b.heard])).toEqual(['run', 'run']);
  expect(other.told).toEqual([]);
  b.forget();
  tell.cancel('r3');
  tell.cancel('r2');
  await other.heard;
  expect(b.told).toEqual(['run']);
  await tell.close();
  await push.close();
});

test('a listener whose connection was lost hears again', async () => {
  const push = listening();
  await push.ready;
  const work = worker(push, { tenant: 't', run: 'r1' });
  await database.query(
    "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'steward-worker-stops' and datname = current_database()",
  );
  for (const until = Date.now() + 20_000; work.told.length === 0 && Date.now() < until; ) {
    await database.query("select pg_notify('steward_cancel', 'r1')");
  }
  expect(work.told.length).toBeGreaterThan(0);
  await push.close();
});

test('a switch stops what is in its scope and nothing else, by every scope', async () => {
  const push = listening();
  await push.ready;
  const tenant = await database.tenant();
  const run = await database.run(tenant, { agent: 'writer', acting_user: 'ada@acme' });
  const other = await database.run(tenant, { agent: 'reader', acting_user: 'bob@acme' });
  const foreign = await database.tenant();
  const theirs = await database.run(foreign, { agent: 'writer', acting_user: 'ada@acme' });
  for (const [id, call, tool, effect] of [
    [run, '1.0', 'send', true],
    [run, '1.1', 'look', false],
  ] as const) {
    await database.query(
      `insert into steward.agent_run_tool_invocations (tenant, run_id, call_id, turn, ordinal, provider_id, tool, sig,
        verdict, policy_set_hash, has_effect, state) values ($1, $2, $3, 1, 0, 'p', $4, 's', 'allow', 'p', $5, 'started')`,
      [tenant, id, call, tool, effect],
    );
  }
  const all = {
    think: { tenant, run },
    send: { tenant, run, call: '1.0' },
    look: { tenant, run, call: '1.1' },
    other: { tenant, run: other },
    foreign: { tenant: foreign, run: theirs },
  };
  const stoppedBy = async (columns: Readonly<Record<string, unknown>>, expected: readonly string[]) => {
    const works = Object.entries(all).map(([name, work]) => ({ name, ...worker(push, work) }));
    const id = await put(tenant, columns);
    await database.query('select pg_notify($1, $2)', [SWITCH_CHANNEL, '']);
    await Promise.all(works.filter((one) => expected.includes(one.name)).map((one) => one.heard));
    const stopped = works.flatMap((one) => (one.told.length > 0 ? [`${one.name} ${one.told[0]}`] : []));
    for (const one of works) one.forget();
    await lift(id);
    return stopped;
  };
  const own = ['think', 'send', 'look'];
  expect(await stoppedBy({}, [...own, 'other'])).toEqual(['think run', 'send run', 'look run', 'other run']);
  expect(await stoppedBy({ scope: 'agent', target: 'writer', action: 'pause' }, own)).toEqual(
    own.map((name) => `${name} work`),
  );
  expect(await stoppedBy({ scope: 'user', target: 'bob@acme' }, ['other'])).toEqual(['other run']);
  expect(await stoppedBy({ scope: 'run', target: other }, ['other'])).toEqual(['other run']);
  expect(await stoppedBy({ scope: 'tool', target: 'send', action: 'none' }, ['send'])).toEqual(['send work']);
  expect(await stoppedBy({ mode: 'safe_mode', action: 'none' }, ['send'])).toEqual(['send work']);
  expect(await stoppedBy({ scope: 'product', tenant: 'platform' }, [...own, 'other', 'foreign'])).toHaveLength(5);
  await push.close();
});

test('what no notification has told of is found within a second, and counts as news', async () => {
  const push = listening();
  await push.ready;
  const tenant = await database.tenant();
  const run = await database.run(tenant);
  const cancelled = await database.run(tenant);
  const works = [worker(push, { tenant, run }), worker(push, { tenant, run: cancelled })] as const;
  const began = Date.now();
  await database.query("update steward.agent_runs set cancel_requested_by = 'olga' where id = $1", [cancelled]);
  await works[1].heard;
  const id = await put(tenant, { scope: 'run', target: run });
  await works[0].heard;
  expect(Date.now() - began).toBeLessThan(5_000);
  const before = push.epoch();
  await database.query("select pg_notify('steward_switches', $1)", [tenant]);
  for (const until = Date.now() + 10_000; push.epoch() === before && Date.now() < until; ) {
    await database.query('select 1');
  }
  expect(push.epoch()).toBeGreaterThan(before);
  await lift(id);
  await push.close();
});
