import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import pg from 'pg';
import { findProcess } from '#deploy/dev/process-table.ts';

const START_MS = 120_000;

/** A database of one test file. */
export interface TestDatabase {
  /** As superuser: for migrations and for looking at what happened. Row-level security does not hold it back. */
  readonly url: string;
  /** As one of the roles that migrations create, under all the restrictions it has in production. */
  urlAs(role: string): Promise<string>;
  /** One statement as superuser. */
  query<Row extends pg.QueryResultRow = pg.QueryResultRow>(text: string, values?: readonly unknown[]): Promise<Row[]>;
  /** Closes its connections, breaks off those of others, and removes the database. */
  drop(): Promise<void>;
}

/**
 * A new, empty database on a real Postgres. The server is started once per process of tests, is shared by its test
 * files, and goes away with the process. Roles belong to the server: migrations create them only where missing.
 */
export async function testDatabase(): Promise<TestDatabase> {
  const server = await serverUrl();
  const name = `test_${randomBytes(6).toString('hex')}`;
  await runOnce(server, `create database ${name}`);
  const url = withPath(server, name);
  const pool = new pg.Pool({ connectionString: url, max: 4, connectionTimeoutMillis: 10_000 });
  pool.on('error', () => undefined);
  return {
    url,
    async urlAs(role) {
      await pool.query(`alter role ${pg.escapeIdentifier(role)} login password 'test'`);
      const as = new URL(url);
      as.username = role;
      as.password = 'test';
      return as.href;
    },
    async query<Row extends pg.QueryResultRow>(text: string, values: readonly unknown[] = []) {
      return (await pool.query<Row>(text, [...values])).rows;
    },
    async drop() {
      await pool.end();
      await runOnce(server, `drop database if exists ${name} with (force)`);
    },
  };
}

async function runOnce(url: string, text: string): Promise<void> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000 });
  await client.connect();
  try {
    await client.query(text);
  } finally {
    await client.end();
  }
}

function withPath(url: string, database: string): string {
  const changed = new URL(url);
  changed.pathname = `/${database}`;
  return changed.href;
}

interface Note {
  /** Tells this process from an earlier one with the same pid. */
  readonly identity: string;
  readonly url: string;
}

// Each test file has its own module registry, so what is shared between files of a process stands in a file.
const NOTE = join(tmpdir(), `steward-test-postgres-${process.pid}.json`);

async function serverUrl(): Promise<string> {
  const identity = findProcess(process.pid)?.identity ?? '';
  const note = readNote();
  if (note?.identity === identity) return note.url;
  const url = await startServer();
  writeFileSync(NOTE, JSON.stringify({ identity, url } satisfies Note), { mode: 0o600 });
  return url;
}

function readNote(): Note | undefined {
  try {
    return JSON.parse(readFileSync(NOTE, 'utf8')) as Note;
  } catch {
    return undefined;
  }
}

async function startServer(): Promise<string> {
  const entry = join(import.meta.dirname, 'postgres-server.ts');
  const child = spawn(process.execPath, [entry, NOTE], { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  const said: string[] = [];
  child.stderr.on('data', (chunk: Buffer) => said.push(chunk.toString('utf8')));
  const timer = setTimeout(() => child.kill('SIGTERM'), START_MS);
  try {
    const url = await firstUrl(child);
    if (url === undefined) throw new Error(`The Postgres for tests did not start:\n${said.join('').slice(-4_000)}`);
    return url;
  } finally {
    clearTimeout(timer);
    // Its open stdin is what keeps the server; nothing of it may keep the tests.
    child.unref();
    for (const stream of [child.stdin, child.stdout, child.stderr]) (stream as unknown as { unref(): void }).unref();
  }
}

async function firstUrl(child: ChildProcess): Promise<string | undefined> {
  if (child.stdout === null) return undefined;
  for await (const line of createInterface({ input: child.stdout })) {
    const ready = /^STEWARD_READY (.*)$/.exec(line);
    if (ready) return (JSON.parse(ready[1] as string) as { url: string }).url;
  }
  return undefined;
}
