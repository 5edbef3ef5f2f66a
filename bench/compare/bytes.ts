import type pg from 'pg';

/** What one run has left behind, in bytes. What a contender does not write is zero. */
export interface DurableBytes {
  /** Of Postgres's write-ahead log, without page images; null where the log cannot be read. */
  readonly postgresLog: number | null;
  readonly temporalHistory: number;
  readonly restateLog: number;
}

/** All of it, or null where a part is not known. */
export function totalOf({ postgresLog, temporalHistory, restateLog }: DurableBytes): number | null {
  return postgresLog === null ? null : postgresLog + temporalHistory + restateLog;
}

/** The records of all transactions that touched one database since `from`, a place that walNow gave. */
export async function loggedSince(database: pg.Pool, from: string, name: string): Promise<number> {
  const { rows } = await database.query<{ bytes: string }>(
    `with log as materialized (
       select xid, record_length - fpi_length as bytes, block_ref
       from pg_get_wal_records_info($1, pg_current_wal_flush_lsn()) where xid <> '0'),
     touched as (
       select distinct xid from log, pg_database d
       where d.datname = $2 and block_ref like '%rel %/' || d.oid || '/%')
     select coalesce(sum(bytes), 0) as bytes from log where xid in (select xid from touched)`,
    [from, name],
  );
  return Number(rows[0]?.bytes);
}
