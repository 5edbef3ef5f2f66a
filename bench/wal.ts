import type pg from 'pg';

/** What the write-ahead log holds of one stretch of time. */
export interface Logged {
  /** Transactions that changed or locked rows of the counted schemas, and were committed. */
  readonly writes: number;
  /** All records of these transactions, without page images. */
  readonly bytes: number;
}

/**
 * A place in the log, or null where it cannot be read: `pg_walinspect` comes with Postgres, and needs a role that may
 * create it and read the log.
 */
export async function walNow(database: pg.Pool): Promise<string | null> {
  try {
    await database.query('create extension if not exists pg_walinspect');
    const { rows } = await database.query<{ lsn: string }>('select pg_current_wal_insert_lsn() as lsn');
    return rows[0]?.lsn ?? null;
  } catch {
    return null;
  }
}

/**
 * Reads the log from a place to its present end. Exact where statistics are not: a transaction counts by its commit
 * record, and those that only notify do not count, since they leave no rows.
 */
export async function walSince(database: pg.Pool, from: string, except: readonly string[]): Promise<Logged> {
  const { rows } = await database.query<{ writes: number; bytes: string }>(
    `with log as materialized (
       select xid, resource_manager, record_type, record_length - fpi_length as bytes, block_ref
       from pg_get_wal_records_info($1, pg_current_wal_flush_lsn())),
     ours as (
       select c.oid, pg_relation_filenode(c.oid) as node from pg_class c join pg_namespace n on n.oid = c.relnamespace
       where c.relkind = 'r' and n.nspname not like 'pg\\_%' and n.nspname <> 'information_schema'
         and not n.nspname = any ($2)),
     touched as (
       select distinct log.xid from log join ours on log.block_ref like '%rel %/' || ours.node || ' %'
       where log.resource_manager in ('Heap', 'Heap2') and log.xid <> '0'),
     committed as (
       select t.xid from touched t join log on log.xid = t.xid
       where log.resource_manager = 'Transaction' and log.record_type like 'COMMIT%')
     select (select count(*)::int from committed) as writes,
       (select coalesce(sum(bytes), 0) from log where xid in (select xid from committed)) as bytes`,
    [from, except],
  );
  return { writes: rows[0]?.writes ?? Number.NaN, bytes: Number(rows[0]?.bytes) };
}
