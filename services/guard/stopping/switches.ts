import { setTimeout as sleep } from 'node:timers/promises';
import type { MessageInitShape } from '@bufbuild/protobuf';
import { sql, type Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import type { StoppedSchema } from '#gen/steward/guard/v1/kill_switch_service_pb.ts';
import { audit } from '#platform/database/journal.ts';
import { lockSwitches, SWITCH_CHANNEL } from '#platform/database/switches.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { GuardDeps } from '../deps.ts';
import { resolvedCalls, unconfirmed } from './count.ts';
import type { SwitchRow } from './message.ts';
import type { Place } from './requests.ts';

/** Standing switches of one tenant: all of them are read with every call. */
const MOST_STANDING = 200;
/** So long a kill waits for what it stopped to be resolved before it says what is not. */
const CONFIRM_MS = 2_000;
const LOOK_MS = 50;

/** A switch about to be set. */
export interface NewSwitch extends Place {
  readonly id: string;
  readonly mode: SwitchRow['mode'];
  readonly action: SwitchRow['action'];
  readonly reason: string;
  readonly drill: boolean;
  readonly by: string;
}

/**
 * Sets a switch: once this returns, nothing of its scope begins any more. The same id again returns the row that is
 * there. Throws REQUEST_ID_REUSED where that is another switch, LIMIT_REACHED where too many stand.
 */
export async function setSwitch(deps: GuardDeps, wanted: NewSwitch): Promise<SwitchRow> {
  return withTenant(deps.db, wanted.tenant, async (trx) => {
    const exact = await lockSwitches(trx, wanted.tenant, wanted.scope === 'product');
    if (!exact)
      deps.log.warn({ switch: wanted.id }, 'a kill switch was set while something hung that was about to begin');
    const known = await find(trx, wanted.id);
    if (known) return same(known, wanted);
    const { standing } = await trx
      .selectFrom('kill_switches')
      .select((eb) => eb.fn.countAll<number>().as('standing'))
      .where('tenant', '=', wanted.tenant)
      .where('lifted_at', 'is', null)
      .executeTakeFirstOrThrow();
    if (standing >= MOST_STANDING) {
      throw new StewardError('LIMIT_REACHED', `${standing} switches stand already. Kill a wider scope, or lift some.`);
    }
    const { tenant, id, scope, target, mode, action, reason, drill, by } = wanted;
    await trx
      .insertInto('kill_switches')
      .values({ tenant, id, scope, target, mode, action, reason, drill, set_by: by })
      .execute()
      .catch((error: unknown) => {
        // Ids are unique across tenants, and another one's row is not to be seen.
        if ((error as { code?: unknown }).code !== '23505') throw error;
        const message = `Request id ${id} is taken. NOTHING WAS STOPPED: take a random one.`;
        throw new StewardError('REQUEST_ID_REUSED', message, { cause: error });
      });
    const data = { switch: id, scope, target, mode, action, reason, drill };
    await audit(trx, tenant, { actor: by, action: mode === 'kill' ? 'switch.kill' : 'switch.safe_mode', data });
    await hint(trx, tenant);
    const row = await find(trx, id);
    // What cannot be read back has been set all the same.
    return row ?? unread(wanted);
  });
}

/** Lifts a switch, once; null where it had been lifted before. */
export async function liftSwitch(
  deps: GuardDeps,
  one: Pick<SwitchRow, 'id' | 'tenant' | 'scope' | 'mode' | 'drill'>,
  by: string,
  reason: string,
  more: Readonly<Record<string, unknown>> = {},
): Promise<SwitchRow | null> {
  return withTenant(deps.db, one.tenant, async (trx) => {
    // Whoever lets runs go on has read that it stands, or that it does not.
    await lockSwitches(trx, one.tenant, one.scope === 'product');
    const row = await trx
      .updateTable('kill_switches')
      .set({ lifted_by: by, lift_reason: reason, lifted_at: sql<Date>`clock_timestamp()` })
      .where('id', '=', one.id)
      .where('lifted_at', 'is', null)
      .returningAll()
      .executeTakeFirst();
    if (!row) return null;
    const data = { switch: one.id, scope: row.scope, target: row.target, mode: row.mode, reason, ...more };
    await audit(trx, one.tenant, { actor: by, action: 'switch.lift', data });
    await hint(trx, one.tenant);
    return row;
  });
}

/** Told with the commit. */
async function hint(trx: Transaction<Database>, tenant: string): Promise<void> {
  await sql`select pg_notify(${SWITCH_CHANNEL}, ${tenant})`.execute(trx);
}

export function find(trx: Transaction<Database>, id: string): Promise<SwitchRow | undefined> {
  return trx.selectFrom('kill_switches').selectAll().where('id', '=', id).executeTakeFirst();
}

function same(known: SwitchRow, wanted: NewSwitch): SwitchRow {
  const { tenant, scope, target, mode, action } = known;
  const equal = tenant === wanted.tenant && scope === wanted.scope && target === wanted.target;
  if (equal && mode === wanted.mode && action === wanted.action) return known;
  throw new StewardError('REQUEST_ID_REUSED', `Request id ${wanted.id} has set another switch. Take a new id.`);
}

function unread({ by, ...wanted }: NewSwitch): SwitchRow {
  const none = { lifted_by: null, lift_reason: null, lifted_at: null, told_at: null };
  return { ...wanted, ...none, set_by: by, set_at: new Date(), cancelled: 0, paused: 0, voided: 0 };
}

/** Waits until what was stopped is resolved, for two seconds at most, and says what was and what is not. */
export async function confirm(deps: GuardDeps, one: SwitchRow): Promise<MessageInitShape<typeof StoppedSchema>> {
  const end = Date.now() + CONFIRM_MS;
  for (;;) {
    const left = await unconfirmed(deps, one);
    if ((left.calls === 0 && left.runs === 0) || Date.now() >= end) return stopped(deps, one);
    await sleep(LOOK_MS);
  }
}

/** What a switch has stopped, as of now. */
export async function stopped(deps: GuardDeps, one: SwitchRow): Promise<MessageInitShape<typeof StoppedSchema>> {
  const now = (await withTenant(deps.db, one.tenant, (trx) => find(trx, one.id))) ?? one;
  const [left, calls] = [await unconfirmed(deps, now), await resolvedCalls(deps, now)];
  return {
    runsCancelled: now.cancelled,
    runsPaused: now.paused,
    approvalsVoided: now.voided,
    callsAborted: calls.aborted,
    callsDone: calls.done,
    callsUnconfirmed: left.calls,
    runsUnconfirmed: left.runs,
  };
}
