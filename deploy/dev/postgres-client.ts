/** The few questions the launcher asks of a Postgres. Every one has a deadline. */

import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { StewardError } from '#domain/errors.ts';
import { endedAs, type ProcessLog, startFailure } from './process-log.ts';

const CONNECT_MS = 2_000;
const QUERY_MS = 10_000;
const POLL_MS = 50;
const DUPLICATE_DATABASE = '42P04';

/** Asks a server for an answer: `serving`, or why not. Tries again, within the time, while it is still starting. */
export async function probe(url: string, waitMs: number): Promise<string> {
  const deadline = Date.now() + waitMs;
  for (;;) {
    const problem = await ask(url, 'SELECT 1').then(
      () => undefined,
      (error: unknown) => error as NodeJS.ErrnoException,
    );
    if (problem === undefined) return 'serving';
    if (!isStarting(problem) || Date.now() >= deadline) return problem.message || problem.code || 'no answer';
    await delay(POLL_MS);
  }
}

/**
 * Waits until a server that was just started answers.
 *
 * @throws StewardError UNAVAILABLE with its last log lines when it ends or does not answer; CANCELLED on the signal.
 */
export async function waitUntilServing(
  child: ProcessLog,
  url: string,
  waitMs: number,
  signal?: AbortSignal,
): Promise<void> {
  const deadline = Date.now() + waitMs;
  for (;;) {
    const answer = await probe(url, 0);
    const exit = child.exit();
    if (exit !== undefined) throw startFailure(child, endedAs(exit));
    if (answer === 'serving') return;
    if (signal?.aborted === true) throw new StewardError('CANCELLED', `Starting ${child.name} was cancelled.`);
    if (Date.now() >= deadline) throw startFailure(child, `did not answer within ${waitMs / 1000} s (${answer})`);
    await delay(POLL_MS);
  }
}

/** Creates a database unless it is there. Safe with many callers at once. */
export async function ensureDatabase(url: string, name: string): Promise<void> {
  const found = await ask(url, 'SELECT 1 FROM pg_database WHERE datname = $1', [name]);
  if (found.rowCount !== 0) return;
  await ask(url, `CREATE DATABASE ${pg.escapeIdentifier(name)}`).catch((error: { code?: string }) => {
    if (error.code !== DUPLICATE_DATABASE) throw error;
  });
}

async function ask(url: string, text: string, values: readonly unknown[] = []): Promise<pg.QueryResult> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: CONNECT_MS,
    query_timeout: QUERY_MS,
    application_name: 'steward-dev',
  });
  // A connection that breaks while idle must not bring the launcher down.
  client.on('error', () => undefined);
  try {
    await client.connect();
    return await client.query(text, [...values]);
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** Not listening yet, or listening and recovering. */
function isStarting(error: NodeJS.ErrnoException): boolean {
  return error.code === 'ECONNREFUSED' || error.code === '57P03';
}
