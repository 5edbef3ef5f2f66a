import { type Kysely, sql } from 'kysely';
import type { ChainRecord } from '#platform/audit/verify.ts';
import type { Database } from './tables.ts';
import { withTenant } from './tenant.ts';

/** Links read in one statement; an entry may be as long as what a tool changed. */
const PAGE = 250;
const NO_SALT = new Uint8Array();

/** A tenant's chain in its order, page by page, each in its own short transaction. `from` counts from 1. */
export async function* readChain(db: Kysely<Database>, tenant: string, from = 1): AsyncGenerator<ChainRecord> {
  let after = from - 1;
  // Numbers only grow, so the loop ends with the chain.
  for (;;) {
    const { page, entries } = await withTenant(db, tenant, async (trx) => {
      const page = await trx
        .selectFrom('audit_chain')
        .select(['tenant', 'number', 'audit_id', 'prev', 'hash'])
        .where('tenant', '=', tenant)
        .where('number', '>', after)
        .orderBy('number')
        .limit(PAGE)
        .execute();
      // By their ids and not by a join: a join is planned by statistics, which a log that has just grown has not.
      const ids = page.map((link) => link.audit_id);
      const entries = await trx
        .selectFrom('audit_log')
        .select(['id', 'entry', 'salt', 'actor', 'data', 'at', 'action', 'run_id', 'call_id', 'digest', 'tool'])
        .where('tenant', '=', tenant)
        .where('id', '=', sql<number>`any(${ids}::bigint[])`)
        .execute();
      return { page, entries: new Map(entries.map((entry) => [entry.id, entry])) };
    });
    for (const { tenant: of, number, audit_id: id, prev, hash } of page) {
      const row = entries.get(id);
      const record = { tenant: of, number, prev, hash, entry: row?.entry ?? null };
      if (!row) {
        yield { ...record, personal: null };
        continue;
      }
      const { salt, actor, data } = row;
      // Only what is empty altogether was erased; what is put beside an empty salt fits no hash.
      const erased = salt === null && actor === null && data === null;
      const personal = erased ? null : { salt: salt ?? NO_SALT, actor: actor ?? '', data };
      const { at, action, run_id: run, call_id: call, digest, tool } = row;
      yield { ...record, personal, columns: { at: at.toISOString(), action, run, call, digest, tool } };
    }
    const last = page.at(-1);
    if (!last || page.length < PAGE) return;
    after = last.number;
  }
}

/** Entries that were erased by erasings that have no place in the chain yet. */
export async function erasedUnsealed(db: Kysely<Database>, tenant: string): Promise<number> {
  return withTenant(db, tenant, async (trx) => {
    const { rows } = await sql<{ entries: number }>`
      select coalesce(sum((l.data ->> 'entries')::int8), 0)::int8 as entries from audit_log l
      where l.tenant = ${tenant} and l.action = 'audit.erase' and l.at > now() - interval '1 hour'
        and not exists (select from audit_chain c where c.tenant = l.tenant and c.audit_id = l.id)`.execute(trx);
    return rows[0]?.entries ?? 0;
  });
}
