import { CompiledQuery, type Kysely, type Transaction } from 'kysely';
import { isStewardError, StewardError } from '#domain/errors.ts';
import { OPENING } from './session.ts';

/**
 * Runs `work` in one transaction that sees one tenant's rows and no others. `tenant` must come from a verified token or
 * run grant. It ends with the transaction, and so do other `settings` (their names are never input), so a pooled
 * connection carries nothing over. `work` also hears which backend it is on. `under` is SQL of ours that goes out with
 * them, as `, lock(…)`; `$1` is the tenant.
 * Throws UNAVAILABLE where the database cannot be used; the transaction has then not happened, or (commit lost on the
 * wire) may have: callers repeat by key.
 */
export async function withTenant<DB, T>(
  db: Kysely<DB>,
  tenant: string,
  work: (trx: Transaction<DB>, pid: number) => Promise<T>,
  settings: Readonly<Record<string, string>> = {},
  under = '',
): Promise<T> {
  if (tenant === '') throw new StewardError('INTERNAL', 'A transaction needs a tenant.');
  const names = ['app.tenant', ...Object.keys(settings)];
  const set = names.map((name, at) => `set_config('${name}', $${at + 1}, true)`).join(', ');
  const opening = CompiledQuery.raw(`${OPENING}${set.slice('set_config('.length)}, pg_backend_pid() as pid${under}`, [
    tenant,
    ...Object.values(settings),
  ]);
  try {
    return await db.transaction().execute(async (trx) => {
      const { rows } = await trx.executeQuery<{ pid: number }>(opening);
      return work(trx, rows[0]?.pid ?? 0);
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
