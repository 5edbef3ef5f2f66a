import type { Kysely } from 'kysely';
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
    const page = await withTenant(db, tenant, (trx) =>
      trx
        .selectFrom('audit_chain as c')
        .leftJoin('audit_log as l', (join) => join.onRef('l.id', '=', 'c.audit_id').onRef('l.tenant', '=', 'c.tenant'))
        .select(['c.tenant', 'c.number', 'c.prev', 'c.hash', 'l.entry', 'l.salt', 'l.actor', 'l.data'])
        .where('c.tenant', '=', tenant)
        .where('c.number', '>', after)
        .orderBy('c.number')
        .limit(PAGE)
        .execute(),
    );
    for (const { tenant: of, number, prev, hash, entry, salt, actor, data } of page) {
      const personal = salt === null || actor === null ? null : { salt, actor, data };
      yield { tenant: of, number, prev, hash, entry, personal };
    }
    const last = page.at(-1);
    if (!last || page.length < PAGE) return;
    after = last.number;
  }
}
