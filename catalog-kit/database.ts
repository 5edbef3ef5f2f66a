import { type Kysely, sql, type Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { fromDatabase, withTenant } from '#platform/database/tenant.ts';

const IDLE_GRACE_MS = 1_000;

/** The kit's own tables, in the schema of the catalog. */
export interface KitTables {
  receipts: ReceiptsTable;
  grants_used: GrantsUsedTable;
}

interface ReceiptsTable {
  tenant: string;
  key: string;
  digest: string;
  state: 'intent' | 'done' | 'tombstone';
  effect: 'transactional' | 'keyed' | 'unkeyed' | null;
  tool: string | null;
  action_record: Uint8Array | null;
  result: string | null;
  change: string | null;
  undoable: boolean;
  owner: string | null;
  lease_until: Date | null;
  attempts: number;
  settled_at: Date | null;
}

interface GrantsUsedTable {
  tenant: string;
  id: string;
  key: string;
  digest: string;
}

export type KitTransaction = Transaction<KitTables>;

/** How long work may go on: whoever asked for it may stop wanting it. */
export interface Bounds {
  readonly signal: AbortSignal;
  readonly deadline: Date;
}

/** Throws DEADLINE or CANCELLED where nobody wants the work any more. */
export function assertWanted(bounds: Bounds): void {
  if (bounds.signal.aborted) throw toReason(bounds.signal);
  if (Date.now() >= bounds.deadline.getTime()) throw new StewardError('DEADLINE', 'The call is past its deadline.');
}

function toReason(signal: AbortSignal): unknown {
  return signal.reason ?? new StewardError('CANCELLED', 'The call was cancelled.');
}

/** Bounds of the kit's own: for what must be stored although the caller may be gone. */
export function ownBounds(ms: number): Bounds {
  return { signal: new AbortController().signal, deadline: new Date(Date.now() + ms) };
}

/**
 * One transaction that sees one tenant's rows. Statements and waits for locks end at the deadline (UNAVAILABLE), the one
 * under way is broken off when the signal is aborted, and what is no longer wanted at the end is rolled back (DEADLINE,
 * CANCELLED): the last look is right before COMMIT.
 */
export async function inTransaction<T>(
  db: Kysely<KitTables>,
  tenant: string,
  bounds: Bounds,
  mode: 'read' | 'write',
  work: (trx: KitTransaction) => Promise<T>,
): Promise<T> {
  assertWanted(bounds);
  const leftMs = Math.max(1, bounds.deadline.getTime() - Date.now());
  const settings = {
    statement_timeout: String(leftMs),
    lock_timeout: String(leftMs),
    // Ends the connection, so only for work that does not end itself.
    idle_in_transaction_session_timeout: String(leftMs + IDLE_GRACE_MS),
    ...(mode === 'read' ? { transaction_read_only: 'on' } : {}),
  };
  const within = async (trx: KitTransaction, pid: number): Promise<T> => {
    const breaker = breakOff(db, pid, bounds.signal);
    try {
      const value = await work(trx);
      assertWanted(bounds);
      return value;
    } catch (error) {
      throw bounds.signal.aborted ? toReason(bounds.signal) : fromDatabase(error);
    } finally {
      if (await breaker.end()) await absorb(trx);
    }
  };
  return await withTenant(db, tenant, within, settings);
}

/** Cancels a connection's statement when the signal is aborted. `end` says whether it has. */
function breakOff(db: Kysely<KitTables>, pid: number, signal: AbortSignal) {
  let sent: Promise<unknown> | undefined;
  const onAbort = (): void => {
    sent = sql`select pg_cancel_backend(${pid})`.execute(db).catch(() => undefined);
  };
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  return {
    async end(): Promise<boolean> {
      signal.removeEventListener('abort', onAbort);
      await sent;
      return sent !== undefined;
    },
  };
}

/** A cancellation that came between two statements would hit the rollback; this takes it instead. */
async function absorb(trx: KitTransaction): Promise<void> {
  await sql`select 1`.execute(trx).catch(() => undefined);
}
