import type pg from 'pg';
import { CANCEL_CHANNEL, RUNS_CHANNEL } from '#platform/database/notify.ts';
import { until } from './waiting.ts';
import { walNow, walSince } from './wal.ts';

/** What was done to Steward's and the catalogs' tables. */
export interface Counted {
  /** Rows inserted, updated and deleted. */
  readonly written: number;
  /** Rows fetched by index and sequential scans. */
  readonly read: number;
  /** Committed transactions that wrote rows; where the log cannot be read, those that took a transaction id. */
  readonly writes: number;
  /** What they wrote to the log, in bytes; NaN where it cannot be read. */
  readonly walBytes: number;
  /** NOTIFYs about runs that listeners heard. */
  readonly notifies: number;
  /** Most written first. */
  readonly byTable: readonly TableShare[];
}

/** What was done to one table. */
export interface TableShare {
  readonly table: string;
  readonly written: number;
  readonly read: number;
}

/** Schemas of the benchmark itself. */
const NOT_COUNTED = ['bench', 'bench_bare'];

/** A session hands its statistics over at the end of a transaction that is so long after the last time, … */
const EVERY_MS = 1_000;
/** … and else when it has been idle for so long. */
const IDLE_MS = 10_000;
const SLACK_MS = 100;

/**
 * Counts what each of several pieces of work does to the tables, one after the other, and whatever else happens
 * meanwhile: let nothing else happen. Takes ten seconds more than the work, and ten seconds at the beginning.
 */
export async function countEach<K>(
  database: pg.Pool,
  signal: AbortSignal,
  keys: readonly K[],
  work: (key: K) => Promise<unknown>,
): Promise<ReadonlyMap<K, Counted>> {
  const counted = new Map<K, Counted>();
  const heard = await countNotifies(database);
  try {
    let before = await readSettled(database, signal);
    for (const key of keys) {
      const place = await walNow(database);
      const transaction = await nextTransaction(database);
      const notified = heard.count();
      await work(key);
      const taken = (await nextTransaction(database)) - transaction;
      const logged = place === null ? null : await walSince(database, place, NOT_COUNTED);
      const after = await readSettled(database, signal);
      const byTable = differences(before, after);
      counted.set(key, {
        written: byTable.reduce((sum, { written }) => sum + written, 0),
        read: byTable.reduce((sum, { read }) => sum + read, 0),
        writes: logged?.writes ?? taken,
        walBytes: logged?.bytes ?? Number.NaN,
        notifies: heard.count() - notified,
        byTable,
      });
      before = after;
    }
  } finally {
    heard.end();
  }
  return counted;
}

async function countNotifies(database: pg.Pool): Promise<{ count(): number; end(): void }> {
  const client = await database.connect();
  let heard = 0;
  client.on('notification', () => {
    heard += 1;
  });
  await client.query(`listen ${RUNS_CHANNEL}; listen ${CANCEL_CHANNEL}`);
  return {
    count: () => heard,
    // It listens on, so it is not to be used again.
    end: () => client.release(true),
  };
}

function differences(before: readonly TableShare[], after: readonly TableShare[]): TableShare[] {
  return after
    .map(({ table, written, read }) => {
      const was = before.find((each) => each.table === table);
      return { table, written: written - (was?.written ?? 0), read: read - (was?.read ?? 0) };
    })
    .filter(({ written, read }) => written > 0 || read > 0)
    .sort((a, b) => b.written - a.written || b.read - a.read);
}

async function readSettled(database: pg.Pool, signal: AbortSignal): Promise<readonly TableShare[]> {
  await settled(database, signal);
  return readTables(database);
}

/**
 * Waits until every other session has handed over what it counted before this call. Postgres has no way to make them:
 * each does so by itself, at the latest ten seconds after its last transaction.
 */
async function settled(database: pg.Pool, signal: AbortSignal): Promise<void> {
  const { rows } = await database.query<{ now: Date }>('select clock_timestamp() as now');
  const since = rows[0]?.now;
  const open = `
    select count(*)::int as n from pg_stat_activity
    where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()
      and not (state = 'idle' and (state_change > $1::timestamptz + $2 * interval '1 ms'
        or state_change < clock_timestamp() - $3 * interval '1 ms'))`;
  await until("Postgres's statistics", 4 * IDLE_MS, signal, async () => {
    const found = await database.query<{ n: number }>(open, [since, EVERY_MS + SLACK_MS, IDLE_MS + SLACK_MS]);
    return found.rows[0]?.n === 0 ? true : undefined;
  });
}

async function readTables(database: pg.Pool): Promise<readonly TableShare[]> {
  const { rows } = await database.query<{ table: string; written: string; read: string }>(
    `select schemaname || '.' || relname as table, n_tup_ins + n_tup_upd + n_tup_del as written,
       coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0) as read
     from pg_stat_user_tables where not schemaname = any ($1)`,
    [NOT_COUNTED],
  );
  return rows.map((row) => ({ table: row.table, written: Number(row.written), read: Number(row.read) }));
}

/** The id that the next writing transaction will take. Reading it takes none. */
async function nextTransaction(database: pg.Pool): Promise<number> {
  const { rows } = await database.query<{ next: string }>('select pg_snapshot_xmax(pg_current_snapshot()) as next');
  return Number(rows[0]?.next);
}
