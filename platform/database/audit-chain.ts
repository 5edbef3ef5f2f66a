import { type Kysely, sql } from 'kysely';
import type { ChainRecord } from '#platform/audit/verify.ts';
import type { Database } from './tables.ts';
import { withTenant } from './tenant.ts';

/** Links read in one statement. */
const PAGE = 1_000;

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
        .select(['id', 'entry', 'salt', 'actor', 'data'])
        .where('tenant', '=', tenant)
        .where('id', '=', sql<number>`any(${ids}::bigint[])`)
        .execute();
      return { page, entries: new Map(entries.map((entry) => [entry.id, entry])) };
    });
    for (const { tenant: of, number, audit_id: id, prev, hash } of page) {
      const { entry = null, salt = null, actor = null, data = null } = entries.get(id) ?? {};
      const personal = salt === null || actor === null ? null : { salt, actor, data };
      yield { tenant: of, number, prev, hash, entry, personal };
    }
    const last = page.at(-1);
    if (!last || page.length < PAGE) return;
    after = last.number;
  }
}
