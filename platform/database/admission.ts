import { sql, type Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { record } from './journal.ts';
import { unreadAtEnd } from './messages.ts';
import { enqueue } from './outbox.ts';
import type { Database } from './tables.ts';

/**
 * Admission: which runs get one of the tenant's slots now, and which wait in the queue, oldest first. Everything here
 * holds the tenant's admission lock until the end of the transaction, so that two transactions never give away the same
 * slot. Take ledger and run row locks before it, never after. The database's clock counts; days are UTC.
 */

/** Runs one tenant may have in its queue; one more is refused. */
export const LONGEST_QUEUE = 1_000;
const QUEUE_HOURS = 24;
const PROMOTED_AT_ONCE = 100;

export type Admission =
  | { readonly kind: 'admitted' }
  | { readonly kind: 'queued'; readonly reason: string; readonly until: Date };

interface Room {
  readonly concurrent: number;
  readonly perDay: number;
  /** Slots free right now; below 0 where limits were lowered. */
  readonly slots: number;
  /** Starts left today. */
  readonly today: number;
  readonly midnight: Date;
  readonly queueEnds: Date;
}

/** Waits for the tenant's admission lock; held until the transaction ends. */
export async function lockAdmission(trx: Transaction<Database>, tenant: string): Promise<void> {
  await sql`select pg_advisory_xact_lock(hashtextextended(${`steward.admission/${tenant}`}, 0))`.execute(trx);
}

async function roomOf(trx: Transaction<Database>, tenant: string): Promise<Room> {
  const { rows } = await sql<{
    concurrent: number;
    per_day: number;
    open: number;
    today: number;
    midnight: Date;
    queue_ends: Date;
  }>`
    with day as (select date_trunc('day', now() at time zone 'utc') at time zone 'utc' as start)
    select t.max_concurrent_runs as concurrent, t.max_runs_per_day as per_day,
      (select count(*) from agent_runs where tenant = ${tenant} and closed_at is null and status <> 'queued') as open,
      (select count(*) from agent_runs where tenant = ${tenant} and admitted_at >= day.start) as today,
      day.start + interval '1 day' as midnight,
      now() + ${QUEUE_HOURS} * interval '1 hour' as queue_ends
    from tenant_settings t, day where t.id = ${tenant}`.execute(trx);
  const row = rows[0];
  if (row === undefined)
    throw new StewardError('NOT_FOUND', `There is no tenant ${tenant}. Ask an operator to create it.`);
  return {
    concurrent: row.concurrent,
    perDay: row.per_day,
    slots: row.concurrent - row.open,
    today: row.per_day - row.today,
    midnight: row.midnight,
    queueEnds: row.queue_ends,
  };
}

const dayIsFull = (room: Room): string => `the tenant's ${room.perDay} runs of today (UTC) are used up`;
const slotsAreTaken = (room: Room): string => `all ${room.concurrent} slots of the tenant are taken`;

/**
 * Whether one more run gets a slot now. Those in the queue go first: `startQueued` is run before, and its rows are
 * returned to be delivered. Throws NOT_FOUND for an unknown tenant, LIMIT_REACHED where the queue is full or the tenant
 * may run nothing.
 */
export async function admit(
  trx: Transaction<Database>,
  tenant: string,
): Promise<{ readonly admission: Admission; readonly outbox: readonly number[] }> {
  const outbox = await startQueued(trx, tenant);
  const room = await roomOf(trx, tenant);
  if (room.concurrent === 0 || room.perDay === 0) {
    const limit = room.concurrent === 0 ? 'max_concurrent_runs' : 'max_runs_per_day';
    throw new StewardError('LIMIT_REACHED', `This tenant may run nothing: its ${limit} is 0. Ask an administrator.`);
  }
  const { waiting } = await trx
    .selectFrom('agent_runs')
    .select((eb) => eb.fn.countAll<number>().as('waiting'))
    .where('status', '=', 'queued')
    .executeTakeFirstOrThrow();
  if (waiting >= LONGEST_QUEUE) {
    throw new StewardError('LIMIT_REACHED', `${waiting} runs of this tenant are queued already. Try again later.`);
  }
  if (room.today <= 0) return { admission: { kind: 'queued', reason: dayIsFull(room), until: room.midnight }, outbox };
  if (room.slots <= 0 || waiting > 0) {
    return { admission: { kind: 'queued', reason: slotsAreTaken(room), until: room.queueEnds }, outbox };
  }
  return { admission: { kind: 'admitted' }, outbox };
}

/**
 * Gives free slots to the oldest queued runs, and ends the wait of those whose time is up. Returns the outbox rows of
 * the starts, to be delivered after the commit. Belongs into every transaction that frees a slot.
 */
export async function startQueued(trx: Transaction<Database>, tenant: string): Promise<number[]> {
  await lockAdmission(trx, tenant);
  const queued = await trx.selectFrom('agent_runs').select('id').where('status', '=', 'queued').limit(1).execute();
  if (queued.length === 0) return [];
  const room = await roomOf(trx, tenant);
  const free = Math.max(0, Math.min(room.slots, room.today, PROMOTED_AT_ONCE));
  const { rows } = await sql<{ id: string }>`
    with chosen as materialized (
      select id from agent_runs where tenant = ${tenant} and status = 'queued'
      order by created_at, id limit ${free} for update skip locked)
    update agent_runs r set status = 'pending', waits_until = null, stop_message = null, admitted_at = now()
    from chosen where r.id = chosen.id
    returning r.id`.execute(trx);
  const outbox: number[] = [];
  for (const { id } of rows) outbox.push(await enqueue(trx, tenant, { kind: 'start', runId: id }));
  await endWaits(trx, tenant, room);
  return outbox;
}

/** A run that waited for a new day, and meets a new day without a free slot, waits on for a slot; others give up. */
async function endWaits(trx: Transaction<Database>, tenant: string, room: Room): Promise<void> {
  const { rows } = await sql<{ id: string; for_a_day: boolean }>`
    select id, waits_until < created_at + ${QUEUE_HOURS} * interval '1 hour' as for_a_day
    from agent_runs where tenant = ${tenant} and status = 'queued' and waits_until <= now()
    order by created_at, id limit ${PROMOTED_AT_ONCE} for update skip locked`.execute(trx);
  for (const row of rows) {
    if (!row.for_a_day) {
      await closeUnstarted(trx, tenant, row.id, 'waited in the queue until its time was up');
      continue;
    }
    const reason = room.today <= 0 ? dayIsFull(room) : slotsAreTaken(room);
    await trx
      .updateTable('agent_runs')
      .set({ waits_until: room.queueEnds, stop_message: reason })
      .where('id', '=', row.id)
      .execute();
    const data = { reason, until: room.queueEnds.getTime() };
    await record(trx, tenant, row.id, { events: [{ kind: 'run.queued', data }] });
  }
}

/** Closes a run that no workflow knows of, as cancelled. The caller holds its row. */
export async function closeUnstarted(
  trx: Transaction<Database>,
  tenant: string,
  run: string,
  message: string,
): Promise<void> {
  const row = await trx
    .selectFrom('agent_runs')
    .select(['id', 'messages_sent', 'messages_read'])
    .where('id', '=', run)
    .executeTakeFirstOrThrow();
  const end = { status: 'cancelled', reason: 'cancelled', message, cost: 0, outcome: '' } as const;
  await record(trx, tenant, run, {
    events: [{ kind: 'run.closed', data: { ...end, ...(await unreadAtEnd(trx, row)) } }],
  });
  await trx
    .updateTable('agent_runs')
    .set({
      status: 'cancelled',
      stop_reason: 'cancelled',
      stop_message: message,
      outcome: '',
      waits_until: null,
      closed_at: new Date(),
    })
    .where('id', '=', run)
    .execute();
}
