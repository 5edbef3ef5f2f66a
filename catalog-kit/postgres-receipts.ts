import { type Selectable, sql } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import type { Change } from '#domain/tools.ts';
import type { KitTables, KitTransaction } from './database.ts';
import type { Claim, Known, Receipts } from './receipts.ts';

const tenant = sql<string>`current_setting('app.tenant')`;
const until = (ms: number) => sql<Date>`now() + ${ms} * interval '1 millisecond'`;

/** Receipts, tombstones and used grants in the tables of `migrations/`. Waits are bounded by the transaction's own. */
export function postgresReceipts(): Receipts {
  return { claim, find, complete, takeOver, renew, release, abandon, bury, consume };
}

async function claim(trx: KitTransaction, own: Claim): Promise<Known | null> {
  // The unique key makes this wait for another claim's transaction; what that one left is then found below.
  const taken = await trx
    .insertInto('receipts')
    .values({
      tenant,
      key: own.key,
      digest: own.digest,
      state: 'intent',
      effect: own.effect,
      tool: own.tool,
      action_record: Buffer.from(own.actionRecord),
      undoable: false,
      owner: own.owner,
      lease_until: until(own.leaseMs),
      attempts: 1,
    })
    .onConflict((conflict) => conflict.columns(['tenant', 'key']).doNothing())
    .returning('key')
    .executeTakeFirst();
  return taken === undefined ? await known(trx, own.key) : null;
}

async function bury(trx: KitTransaction, key: string, digest: string): Promise<Known | null> {
  const buried = await trx
    .insertInto('receipts')
    .values({ tenant, key, digest, state: 'tombstone', undoable: false, attempts: 0, settled_at: sql<Date>`now()` })
    .onConflict((conflict) => conflict.columns(['tenant', 'key']).doNothing())
    .returning('key')
    .executeTakeFirst();
  return buried === undefined ? await known(trx, key) : null;
}

async function known(trx: KitTransaction, key: string): Promise<Known> {
  const found = await find(trx, key);
  if (found !== null) return found;
  // Released between the two statements.
  throw new StewardError('UNAVAILABLE', `The key ${key} is being settled right now. Try again.`);
}

async function find(trx: KitTransaction, key: string): Promise<Known | null> {
  const row = await trx
    .selectFrom('receipts')
    .selectAll()
    .select(sql<boolean>`coalesce(lease_until > now(), false)`.as('leased'))
    .where('key', '=', key)
    .executeTakeFirst();
  return row === undefined ? null : toKnown(row);
}

function toKnown(row: Selectable<KitTables['receipts']> & { readonly leased: boolean }): Known {
  const { key, digest } = row;
  if (row.state === 'tombstone') return { state: 'tombstone', key, digest };
  if (row.state === 'intent') {
    return {
      state: 'intent',
      key,
      digest,
      effect: row.effect ?? 'unkeyed',
      owner: row.owner ?? '',
      leased: row.leased,
    };
  }
  return {
    state: 'done',
    key,
    digest,
    tool: row.tool ?? '',
    actionRecord: row.action_record ?? new Uint8Array(),
    result: row.result ?? 'null',
    change: JSON.parse(row.change ?? 'null') as Change,
    undoable: row.undoable,
  };
}

const complete: Receipts['complete'] = async (trx, own, outcome) => {
  const updated = await trx
    .updateTable('receipts')
    .set({
      state: 'done',
      result: outcome.result,
      change: JSON.stringify(outcome.change),
      undoable: outcome.undoable,
      lease_until: null,
      settled_at: sql<Date>`now()`,
    })
    .where('key', '=', own.key)
    .where('owner', '=', own.owner)
    .where('state', '=', 'intent')
    .executeTakeFirst();
  return updated.numUpdatedRows === 1n;
};

const takeOver: Receipts['takeOver'] = async (trx, own, from) => {
  const updated = await trx
    .updateTable('receipts')
    .set({ owner: own.owner, lease_until: until(own.leaseMs), attempts: sql<number>`attempts + 1` })
    .where('key', '=', own.key)
    .where('owner', '=', from.owner)
    .where('state', '=', 'intent')
    .executeTakeFirst();
  return updated.numUpdatedRows === 1n;
};

const renew: Receipts['renew'] = async (trx, own) => {
  await trx
    .updateTable('receipts')
    .set({ lease_until: until(own.leaseMs) })
    .where('key', '=', own.key)
    .where('owner', '=', own.owner)
    .where('state', '=', 'intent')
    .execute();
};

const release: Receipts['release'] = async (trx, own) => {
  const deleted = await trx
    .deleteFrom('receipts')
    .where('key', '=', own.key)
    .where('owner', '=', own.owner)
    .where('state', '=', 'intent')
    .executeTakeFirst();
  return deleted.numDeletedRows === 1n;
};

const abandon: Receipts['abandon'] = async (trx, own) => {
  await trx
    .updateTable('receipts')
    .set({ lease_until: null })
    .where('key', '=', own.key)
    .where('owner', '=', own.owner)
    .where('state', '=', 'intent')
    .execute();
};

const consume: Receipts['consume'] = async (trx, grant) => {
  const { id, key, digest } = grant;
  const used = await trx
    .insertInto('grants_used')
    .values({ tenant, id, key, digest })
    .onConflict((conflict) => conflict.columns(['tenant', 'id']).doNothing())
    .returning('id')
    .executeTakeFirst();
  if (used !== undefined) return true;
  const before = await trx.selectFrom('grants_used').select(['key', 'digest']).where('id', '=', id).executeTakeFirst();
  return before?.key === key && before.digest === digest;
};
