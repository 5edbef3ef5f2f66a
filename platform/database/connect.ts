import { Kysely, PostgresDialect } from 'kysely';
import pg from 'pg';
import { Session } from './session.ts';

/** int8 as a number: every bigint of ours (micro-USD, counters) stays below 2^53; one that does not is an error. */
const INT8 = 20;
pg.types.setTypeParser(INT8, (text) => {
  const value = Number(text);
  if (!Number.isSafeInteger(value)) throw new RangeError(`bigint ${text} is too large for a number`);
  return value;
});

export interface ConnectOptions {
  /** Most connections of this process. Default 10. */
  readonly max?: number;
  /** Shown in pg_stat_activity. */
  readonly name?: string;
  /** Schema that unqualified names mean. Default `steward`. */
  readonly schema?: string;
  /** A connection that cannot be had in so many milliseconds is an error. Default 5,000. */
  readonly connectMs?: number;
  /** A statement that runs longer is ended by the server. Default 15,000 ms. */
  readonly statementMs?: number;
}

export interface Connection<DB> {
  readonly db: Kysely<DB>;
  close(): Promise<void>;
}

/**
 * A pool of connections. Connections lost to a restarted server are replaced on the next use; the statement that met
 * the loss fails and is its caller's to repeat.
 */
export function connect<DB>(url: string, options: ConnectOptions = {}): Connection<DB> {
  const pool = new pg.Pool({
    Client: Session,
    connectionString: url,
    max: options.max ?? 10,
    application_name: options.name ?? 'steward',
    connectionTimeoutMillis: options.connectMs ?? 5_000,
    statement_timeout: options.statementMs ?? 15_000,
    idle_in_transaction_session_timeout: 30_000,
    keepAlive: true,
    options: `-c search_path=${options.schema ?? 'steward'}`,
  });
  // Without listeners a connection's loss would end the process: one that is idle, and one between two statements.
  pool.on('error', () => {});
  pool.on('connect', (client) => client.on('error', () => {}));
  const db = new Kysely<DB>({ dialect: new PostgresDialect({ pool }) });
  return { db, close: () => db.destroy() };
}
