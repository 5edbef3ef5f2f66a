import { type Kysely, sql, type Transaction } from 'kysely';
import { isStewardError, StewardError } from '#domain/errors.ts';

/**
 * Runs `work` in one transaction that sees one tenant's rows and no others. `tenant` must come from a verified token or
 * run grant. The setting ends with the transaction, so a pooled connection carries nothing over.
 * Throws UNAVAILABLE where the database cannot be used; the transaction has then not happened, or (commit lost on the
 * wire) may have: callers repeat by key.
 */
export async function withTenant<DB, T>(
  db: Kysely<DB>,
  tenant: string,
  work: (trx: Transaction<DB>) => Promise<T>,
): Promise<T> {
  if (tenant === '') throw new StewardError('INTERNAL', 'A transaction needs a tenant.');
  try {
    return await db.transaction().execute(async (trx) => {
      await sql`select set_config('app.tenant', ${tenant}, true)`.execute(trx);
      return work(trx);
    });
  } catch (error) {
    throw fromDatabase(error);
  }
}

/** The ids of all tenants, for jobs that go tenant by tenant. */
export async function listTenants(db: Kysely<{ tenant_directory: { id: string } }>): Promise<string[]> {
  const rows = await db.selectFrom('tenant_directory').select('id').orderBy('id').execute();
  return rows.map((row) => row.id);
}

/** SQLSTATE classes that mean: the server is away, restarting, out of resources, or asks to try again. */
const AGAIN = /^(08|40|53|57P|55P03|57014|25P03)/;

/** Maps what the driver throws: StewardErrors pass, lost servers become UNAVAILABLE, the rest stays as it is. */
export function fromDatabase(error: unknown): unknown {
  if (isStewardError(error)) return error;
  const code = (error as { code?: unknown } | null)?.code;
  const text = error instanceof Error ? error.message : '';
  const lost =
    (typeof code === 'string' && (AGAIN.test(code) || /^E(CONN|PIPE|HOST|NET|TIMED|AI_AGAIN|NOTFOUND)/.test(code))) ||
    /Connection terminated|timeout exceeded when trying to connect|Client has encountered/.test(text);
  return lost
    ? new StewardError('UNAVAILABLE', 'The database cannot be used right now. Try again.', { cause: error })
    : error;
}

/** True where `error` is the violation of a unique constraint or index, of this name if one is given. */
export function isDuplicate(error: unknown, constraint?: string): boolean {
  const e = error as { code?: unknown; constraint?: unknown } | null;
  return e?.code === '23505' && (constraint === undefined || e.constraint === constraint);
}
