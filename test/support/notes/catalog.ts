import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { CatalogHooks } from '#catalog-kit/catalog.ts';
import { migrateCatalog } from '#catalog-kit/migrate.ts';
import type { Receipts } from '#catalog-kit/receipts.ts';
import { serveCatalog } from '#catalog-kit/serve.ts';
import { testAuthority } from '#catalog-kit/testing.ts';
import { connect } from '#platform/database/connect.ts';
import { type TestDatabase, testDatabase } from '../postgres.ts';
import { type FarSide, HOLD_LOCK, type NotesTables, notesTools } from './tools.ts';

export const SILENT = { debug() {}, info() {}, warn() {}, error() {} };
/** May do everything in the catalog. */
export const ADA = { tenant: 'acme', user: 'ada@acme.example', permissions: ['notes:read', 'notes:write'] } as const;

export interface NotesOptions {
  readonly far?: FarSide;
  readonly hooks?: CatalogHooks;
  readonly receipts?: Receipts;
}

/** The database of one test file, and the authority all its catalogs trust. */
export async function notesWorld() {
  const database = await testDatabase();
  const directory = join(import.meta.dirname, 'migrations');
  await migrateCatalog({ url: database.url, schema: 'notes', directory });
  const authority = await testAuthority();
  const url = await database.urlAs('steward_notes');
  return {
    database,
    authority,
    url,
    /** Serves the catalog; several may be served on one database. */
    async serve(options: NotesOptions = {}) {
      const { db, close } = connect<NotesTables>(url, { schema: 'notes', max: 30 });
      const { far = { act: async () => undefined }, hooks, receipts } = options;
      const server = await serveCatalog({
        name: 'notes',
        tools: notesTools(far),
        db,
        listen: '127.0.0.1:0',
        identity: authority.identity,
        log: SILENT,
        ...(hooks === undefined ? {} : { hooks }),
        ...(receipts === undefined ? {} : { receipts }),
      });
      const tester = await authority.connect(server.address);
      return {
        ...tester,
        address: server.address,
        async stop(graceMs = 5_000) {
          tester.close();
          await server.stop(graceMs);
          await close();
        },
      };
    },
    notes: async () =>
      (await database.query<{ id: string }>('select id from notes.notes order by id')).map((row) => row.id),
  };
}

/** Holds what `add_note_held` waits for. */
export async function holdNotes(database: TestDatabase): Promise<{ release(): Promise<void> }> {
  const client = new pg.Client({ connectionString: database.url });
  await client.connect();
  await client.query('select pg_advisory_lock($1)', [HOLD_LOCK]);
  return { release: () => client.end() };
}

/** Waits until so many sessions of the database wait for a lock. */
export async function untilBlocked(database: TestDatabase, sessions: number): Promise<void> {
  const text = `select count(*)::int as n from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'`;
  const deadline = Date.now() + 20_000;
  while (Date.now() < deadline) {
    const [row] = await database.query<{ n: number }>(text);
    if (row !== undefined && row.n >= sessions) return;
    await delay(10);
  }
  throw new Error(`Never saw ${sessions} sessions waiting for a lock.`);
}
