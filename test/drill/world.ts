import { KillSwitchService } from '#gen/steward/guard/v1/kill_switch_service_pb.ts';
import { type Client, connect } from '#platform/grpc/client.ts';
import { type TestStack, testStack } from '#test/support/stack.ts';
import type { DrillOptions } from './options.ts';

/** So long a task titled `slow …` takes to be inserted: a call in flight. */
export const SLOW_S = 6;
const CATALOGS = ['projects', 'orders', 'messaging'];

/** One effect that a catalog has committed, by the database's clock as it committed. */
export interface Commit {
  readonly catalog: string;
  readonly run: string;
  readonly call: string;
  /** Milliseconds since 1970. */
  readonly at: number;
}

/** A Steward whose catalogs note when they commit. */
export interface DrillWorld {
  readonly test: TestStack;
  /** The switches, as an operator of the platform tenant, and as one of the local tenant. */
  readonly platform: Client<typeof KillSwitchService>;
  readonly local: Client<typeof KillSwitchService>;
  /** The database's clock, in milliseconds. */
  now(): Promise<number>;
  commits(): Promise<readonly Commit[]>;
  /** Runs `work` with a guard that sees no switch, where that is the sabotage. */
  blinded<T>(work: () => Promise<T>): Promise<T>;
  stop(): Promise<void>;
}

export async function drillWorld(options: DrillOptions): Promise<DrillWorld> {
  const test = await testStack(
    options.sabotage === 'push' ? { entries: { worker: 'test/drill/processes/deaf-worker.ts' } } : {},
  );
  await test.query('create schema drill');
  await test.query('create table drill.commits (catalog text, key text, at timestamptz)');
  // Deferred: it runs as the transaction commits.
  await test.query(`create function drill.note() returns trigger language plpgsql security definer as $$ begin
    if new.state = 'done' then insert into drill.commits values (tg_table_schema, new.key, clock_timestamp()); end if;
    return null; end $$`);
  for (const catalog of CATALOGS) {
    await test.query(`create constraint trigger drill after insert or update on ${catalog}.receipts
      deferrable initially deferred for each row execute function drill.note()`);
  }
  await test.query(`create function drill.slowly() returns trigger language plpgsql as $$ begin
    if new.title like 'slow %' then perform pg_sleep(${SLOW_S}); end if; return new; end $$`);
  await test.query(`create trigger drill before insert on projects.tasks
    for each row execute function drill.slowly()`);
  const client = (tenant: string) =>
    connect(KillSwitchService, {
      address: test.stack.environment.guard,
      token: () => test.token({ subject: 'pia@platform.example', roles: ['operator'], tenant }),
      deadlineMs: 60_000,
    });
  const [platform, local] = [client('platform'), client('acme')];
  return {
    test,
    platform: platform.client,
    local: local.client,
    async now() {
      const rows = await test.query<{ at: number }>(
        'select (extract(epoch from clock_timestamp()) * 1000)::float8 as at',
      );
      return rows[0]?.at ?? 0;
    },
    async commits() {
      const rows = await test.query<{ catalog: string; key: string; at: number }>(
        'select catalog, key, (extract(epoch from at) * 1000)::float8 as at from drill.commits order by at',
      );
      return rows.map(({ catalog, key, at }) => {
        const [run = '', call = ''] = key.split('/');
        return { catalog, run, call, at };
      });
    },
    async blinded(work) {
      if (options.sabotage !== 'guard') return work();
      await test.query(`create policy blind on steward.kill_switches as restrictive for select to steward_guard
        using (false)`);
      try {
        return await work();
      } finally {
        await test.query('drop policy blind on steward.kill_switches');
      }
    },
    async stop() {
      platform.close();
      local.close();
      await test.stop();
    },
  };
}
