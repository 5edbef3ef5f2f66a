import { type Kysely, sql, type Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { type AnchorStore, signStatement, statementsOf } from '#platform/audit/anchors.ts';
import { CHAIN_RULES, type ChainRules } from '#platform/audit/chain.ts';
import type { PrivateJwk } from '#platform/identity/key-pair.ts';
import type { Database } from './tables.ts';
import { withTenant } from './tenant.ts';

/** Entries sealed in one transaction at most. */
const BATCH = 500;
/** So many transactions of the whole server go by before an idle tenant's horizon is moved. */
const IDLE_SPAN = 10_000n;
/** A head is anchored after so many entries, or so long after the last anchor. */
const ANCHOR_EVERY = 1_000;
const ANCHOR_MS = 60_000;

export interface SealDeps {
  readonly db: Kysely<Database>;
  readonly rules?: ChainRules;
}

export interface Sealed {
  /** Entries given their place. */
  readonly sealed: number;
  /** True where more may be waiting. */
  readonly more: boolean;
  /** Milliseconds that the oldest of them had stood unsealed. */
  readonly ageMs: number;
}

/**
 * Puts a tenant's unsealed entries at the end of its chain, one batch in one transaction; a tenant that another sealer
 * holds is left to that one. Entries are found however late their transaction committed: only what is older than every
 * transaction still open is taken to be complete.
 */
export function sealTenant(deps: SealDeps, tenant: string, batch = BATCH): Promise<Sealed> {
  const rules = deps.rules ?? CHAIN_RULES;
  return withTenant(deps.db, tenant, async (trx) => {
    const head = await lockHead(trx, tenant);
    if (!head) return { sealed: 0, more: false, ageMs: 0 };
    const { rows } = await sql<{ id: number; entry: string; at: Date; xid: string }>`
      select l.id, l.entry, l.at, l.xid::text as xid from steward.audit_log l
      where l.tenant = ${tenant} and l.xid >= ${head.from}::xid8 and l.entry is not null
        and not exists (select from steward.audit_chain c where c.tenant = l.tenant and c.audit_id = l.id)
      order by l.xid, l.id limit ${batch}`.execute(trx);
    const more = rows.length === batch;
    // An idle tenant's row is written only now and then.
    if (rows.length === 0 && BigInt(head.below) - BigInt(head.from) < IDLE_SPAN) return { sealed: 0, more, ageMs: 0 };
    let [number, prev]: [number, Buffer] = [head.number, head.hash];
    const links = rows.map(({ id, entry }) => {
      number += 1;
      const hash = rules.leaf({ tenant, number, prev, entry });
      const link = { tenant, number, audit_id: id, prev, hash };
      prev = hash;
      return link;
    });
    if (links.length > 0) await trx.insertInto('audit_chain').values(links).execute();
    // With more to come: up to the last one here, where nothing older can be open any more.
    const reached = more ? (rows.at(-1)?.xid ?? head.from) : head.below;
    const sealedBelow = BigInt(reached) < BigInt(head.below) ? reached : head.below;
    await trx
      .updateTable('audit_heads')
      .set({ number, hash: prev, sealed_below: sealedBelow })
      .where('tenant', '=', tenant)
      .execute();
    const oldest = Math.min(...rows.map(({ at }) => at.getTime()), Date.now());
    return { sealed: rows.length, more, ageMs: Date.now() - oldest };
  });
}

interface Head {
  readonly number: number;
  readonly hash: Buffer;
  readonly sealed_below: string;
  /** From which transaction on entries may be unsealed. */
  readonly from: string;
  /** The oldest transaction still open, as of before the entries are read. */
  readonly below: string;
}

/** Null where another sealer is at it, or the tenant has nothing to seal yet. */
async function lockHead(trx: Transaction<Database>, tenant: string): Promise<Head | null> {
  const locked = async () => {
    const { rows } = await sql<Head>`
      select number, hash, sealed_below::text,
        pg_snapshot_xmin(pg_current_snapshot())::text as below,
        -- A restored database counts its transactions anew.
        case when sealed_below > pg_snapshot_xmin(pg_current_snapshot()) then '0' else sealed_below::text end as from
      from steward.audit_heads where tenant = ${tenant} for update skip locked`.execute(trx);
    return rows[0];
  };
  const head = await locked();
  if (head) return head;
  const { numInsertedOrUpdatedRows: made } = await trx
    .insertInto('audit_heads')
    .values({ tenant })
    .onConflict((conflict) => conflict.doNothing())
    .executeTakeFirstOrThrow();
  return made ? ((await locked()) ?? null) : null;
}

export interface AnchorDeps {
  readonly db: Kysely<Database>;
  readonly store: AnchorStore;
  readonly key: PrivateJwk;
}

/**
 * Signs a tenant's head and puts it into the other store, where `every` entries or `afterMs` have passed since the last
 * one. A crash in between anchors the same head twice, which says nothing else. Returns the number anchored, or null.
 * Throws WRONG_STATE where the chain is not the one that was signed last: nothing more is signed for it.
 */
export function anchorTenant(
  { db, store, key }: AnchorDeps,
  tenant: string,
  { every = ANCHOR_EVERY, afterMs = ANCHOR_MS } = {},
): Promise<number | null> {
  return withTenant(db, tenant, async (trx) => {
    const head = await trx
      .selectFrom('audit_heads')
      .selectAll()
      .where('tenant', '=', tenant)
      .forUpdate()
      .skipLocked()
      .executeTakeFirst();
    if (!head || head.number === head.anchored_number) return null;
    const age = Date.now() - (head.anchored_at?.getTime() ?? 0);
    if (head.number - head.anchored_number < every && age < afterMs) return null;
    await assertContinues(trx, store, tenant);
    const at = new Date();
    const said = { tenant, number: head.number, hash: head.hash.toString('hex'), at: at.toISOString() };
    await store.add(tenant, signStatement(key, { kind: 'head', ...said }));
    await trx
      .updateTable('audit_heads')
      .set({ anchored_number: head.number, anchored_at: at })
      .where('tenant', '=', tenant)
      .execute();
    return head.number;
  });
}

/** What the database says of its anchors is not believed: the other store does. */
async function assertContinues(trx: Transaction<Database>, store: AnchorStore, tenant: string): Promise<void> {
  const last = statementsOf(await store.newest(tenant), tenant).findLast(({ kind }) => kind === 'head');
  if (!last) return;
  const link = await trx
    .selectFrom('audit_chain')
    .select('hash')
    .where('tenant', '=', tenant)
    .where('number', '=', last.number)
    .executeTakeFirst();
  if (link?.hash.toString('hex') === last.hash) return;
  throw new StewardError(
    'WRONG_STATE',
    `The audit chain of ${tenant} is not the one whose number ${last.number} was signed at ${last.at}. ` +
      'Nothing more is signed for it: see steward audit verify.',
  );
}
