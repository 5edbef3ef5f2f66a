import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { StewardError } from '#domain/errors.ts';

export interface MigrateOptions {
  /** A role that may create schemas, roles and tables. */
  readonly url: string;
  /** Folder of `NNNNNN_name.sql` files: numbered from 1 without gaps, append-only. */
  readonly directory: string;
  /** Schema that holds the record of what was applied, and that unqualified names mean. Made if missing. */
  readonly schema: string;
  /** Table that holds the record, where several folders build one schema. Default `migrations`. */
  readonly record?: string;
  /** How long to wait for another starter that migrates at the same time. Default 60,000 ms. */
  readonly waitMs?: number;
}

/**
 * Brings a schema up to date, each migration in a transaction of its own. Any number of starters may call this at once:
 * an advisory lock lets one work while the others wait and then find nothing to do. Throws where an applied file has
 * changed since, or the database is ahead of the folder; nothing is applied then.
 * Returns the names of the migrations applied by this call.
 */
export async function migrate(options: MigrateOptions): Promise<string[]> {
  const { schema, record = 'migrations' } = options;
  for (const name of [schema, record]) {
    if (!/^[a-z_][a-z0-9_]{0,40}$/.test(name))
      throw new StewardError('INVALID_REQUEST', `The name ${name} is invalid.`);
  }
  const files = await readMigrations(options.directory);
  const client = new pg.Client({
    connectionString: options.url,
    connectionTimeoutMillis: 10_000,
    lock_timeout: options.waitMs ?? 60_000,
  });
  // A connection that is lost between two statements fails the next one; without a listener it would end the process.
  client.on('error', () => undefined);
  await client.connect();
  try {
    // One lock for all schemas: migrations also make roles, which belong to the whole server.
    await lock(client);
    await client.query(`create schema if not exists ${schema}`);
    await client.query(
      `create table if not exists ${schema}.${record} (
         number int primary key, name text not null, sha256 text not null, applied_at timestamptz not null default now())`,
    );
    const { rows } = await client.query<{ number: number; name: string; sha256: string }>(
      `select number, name, sha256 from ${schema}.${record} order by number`,
    );
    const applied = rows.map((row) => {
      const file = files[row.number - 1];
      if (!file || file.sha256 !== row.sha256) {
        throw new StewardError(
          'WRONG_STATE',
          `Migration ${row.name} of schema ${schema} was applied with other content than ${options.directory} has. ` +
            'Migrations are append-only: restore the file and put the change into a new one, or run the newer release.',
        );
      }
      return row.number;
    });
    const done: string[] = [];
    for (const file of files.slice(applied.length)) {
      await applyOne(client, schema, record, file);
      done.push(file.name);
    }
    return done;
  } finally {
    await client.end();
  }
}

async function lock(client: pg.Client): Promise<void> {
  try {
    await client.query("select pg_advisory_lock(hashtext('steward.migrate'))");
  } catch (error) {
    if ((error as { code?: unknown }).code !== '55P03') throw error;
    throw new StewardError('UNAVAILABLE', 'Another process has been migrating this database for too long. Try again.', {
      cause: error,
    });
  }
}

interface MigrationFile {
  readonly number: number;
  readonly name: string;
  readonly sql: string;
  readonly sha256: string;
}

async function readMigrations(directory: string): Promise<MigrationFile[]> {
  const names = (await readdir(directory)).filter((name) => name.endsWith('.sql')).sort();
  return Promise.all(
    names.map(async (name, index) => {
      const number = Number(/^(\d{6})_[a-z0-9_]+\.sql$/.exec(name)?.[1]);
      if (number !== index + 1) {
        throw new StewardError(
          'INTERNAL',
          `${join(directory, name)}: expected number ${String(index + 1).padStart(6, '0')}.`,
        );
      }
      const sql = await readFile(join(directory, name), 'utf8');
      return { number, name, sql, sha256: createHash('sha256').update(sql).digest('hex') };
    }),
  );
}

async function applyOne(client: pg.Client, schema: string, record: string, file: MigrationFile): Promise<void> {
  await client.query('begin');
  try {
    await client.query(`set local search_path to ${schema}`);
    await client.query(file.sql);
    await client.query(`insert into ${schema}.${record} (number, name, sha256) values ($1, $2, $3)`, [
      file.number,
      file.name,
      file.sha256,
    ]);
    await client.query('commit');
  } catch (error) {
    await client.query('rollback').catch(() => undefined);
    throw new StewardError('INTERNAL', `Migration ${file.name} of schema ${schema} failed and was rolled back.`, {
      cause: error,
    });
  }
}
