import { type Kysely, type RawBuilder, sql, type Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { readStops, type Stop, stopMessage, stopOfRun } from '#domain/kill-switch.ts';
import type { Database } from './tables.ts';
import { withTenant } from './tenant.ts';

/**
 * Kill switches that stand. Whoever lets something begin reads them in the transaction in which it begins, through
 * `withSwitches`: it shares a lock that setting a switch takes alone. So what has read no switch has committed before
 * the switch did, and nothing that begins later has not read it.
 */

/** Something about switches has changed: read again. A hint; who cannot afford to miss it reads every second. */
export const SWITCH_CHANNEL = 'steward_switches';

const PRODUCT_LOCK = 7_483_651;
/** So long a switch waits for what is being let begin; a transaction that hangs must not keep it off. */
const SET_WAIT = '1000ms';

const SHARED = `, pg_advisory_xact_lock_shared(${PRODUCT_LOCK}),
  pg_advisory_xact_lock_shared(hashtextextended('steward.switches/' || $1, 0))`;

/** As `withTenant`, and no switch of the tenant or product is set between its beginning and its commit. */
export function withSwitches<T>(
  db: Kysely<Database>,
  tenant: string,
  work: (trx: Transaction<Database>) => Promise<T>,
): Promise<T> {
  return withTenant(db, tenant, work, {}, SHARED);
}

/**
 * Waits until nothing is being let begin in the scope, and keeps it so until the transaction ends; for a second at most:
 * false where that was not enough, and something may begin that has not read the switch.
 */
export async function lockSwitches(trx: Transaction<Database>, tenant: string, product: boolean): Promise<boolean> {
  const lock = product
    ? sql`pg_advisory_xact_lock(${sql.lit(PRODUCT_LOCK)})`
    : sql`pg_advisory_xact_lock(hashtextextended(${`steward.switches/${tenant}`}, 0))`;
  await sql`savepoint waiting`.execute(trx);
  await sql`set local lock_timeout = ${sql.lit(SET_WAIT)}`.execute(trx);
  try {
    await sql`select ${lock}`.execute(trx);
    await sql`set local lock_timeout = 0`.execute(trx);
    return true;
  } catch (error) {
    if ((error as { code?: unknown }).code !== '55P03') throw error;
    await sql`rollback to savepoint waiting`.execute(trx);
    return false;
  }
}

/**
 * The standing switches of a run's scope and of its tools, as one column beside the columns of `agent_runs`. Those of a
 * scope that is not known are among them: `readStops` refuses what it does not understand.
 */
export function stopsOf(): RawBuilder<unknown> {
  return standing(sql`(s.scope not in ('agent', 'user', 'run') or (s.scope = 'agent' and s.target = agent_runs.agent)
    or (s.scope = 'user' and s.target = agent_runs.acting_user) or (s.scope = 'run' and s.target = agent_runs.id))`);
}

function standing(concerned: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`(select coalesce(json_agg(json_build_object('id', s.id, 'scope', s.scope, 'target', s.target,
    'mode', s.mode, 'action', s.action) order by s.set_at), '[]'::json)
    from kill_switches s where s.lifted_at is null and ${concerned})`;
}

/** A run, or one that is about to be. */
interface Concerned {
  readonly agent: string;
  readonly actingUser: string;
  readonly id?: string;
}

/** What stands against a run that is about to be: throws KILLED where it may not start. */
export async function assertMayStart(trx: Transaction<Database>, run: Concerned): Promise<void> {
  const stop = await standingAgainst(trx, run);
  if (stop) throw killed(stop);
}

/** The switch that keeps a run from going on; null where none does. */
export async function standingAgainst(trx: Transaction<Database>, run: Concerned): Promise<Stop | null> {
  const concerned = sql`(s.scope not in ('agent', 'user', 'run') or (s.scope = 'agent' and s.target = ${run.agent})
    or (s.scope = 'user' and s.target = ${run.actingUser}) or (s.scope = 'run' and s.target = ${run.id ?? ''}))`;
  const { rows } = await sql<{ stops: unknown }>`select ${standing(concerned)} as stops`.execute(trx);
  return stopOfRun(readStops(rows[0]?.stops));
}

/** The refusal by a switch. */
export function killed(stop: Stop): StewardError {
  return new StewardError(stop.mode === 'safe_mode' ? 'SAFE_MODE' : 'KILLED', stopMessage(stop), {
    details: { switch: stop.id, scope: stop.scope, ...(stop.action === 'pause' ? { status: 'paused' } : {}) },
  });
}
