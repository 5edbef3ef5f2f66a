/** `node seed.ts --tenant acme [--reset]` with DATABASE_URL of a role that owns the schema: whom the demo may write to. */

import { parseArgs } from 'node:util';
import { runTask } from '#platform/config/process.ts';
import { readConfig, urlOf } from '#platform/config/service.ts';
import { connect } from '#platform/database/connect.ts';
import { withTenant } from '#platform/database/tenant.ts';
import { MESSAGING_SCHEMA } from './service.ts';
import type { MessagingTables } from './tables.ts';

/** The domain of the demo's client. */
export const DEMO_DOMAINS = ['northwind.example'] as const;

/** Allows the demo's domains; with `reset`, no others. Safe to repeat. */
export async function seedMessaging(
  url: string,
  options: { readonly tenant: string; readonly reset?: boolean },
): Promise<void> {
  const { tenant } = options;
  const { db, close } = connect<MessagingTables>(url, { name: 'steward-seed', schema: MESSAGING_SCHEMA, max: 1 });
  try {
    await withTenant(db, tenant, async (trx) => {
      if (options.reset === true) {
        await trx
          .deleteFrom('allowed_domains')
          .where('tenant', '=', tenant)
          .where('domain', 'not in', [...DEMO_DOMAINS])
          .execute();
      }
      const rows = DEMO_DOMAINS.map((domain) => ({ tenant, domain }));
      await trx
        .insertInto('allowed_domains')
        .values(rows)
        .onConflict((conflict) => conflict.doNothing())
        .execute();
    });
  } finally {
    await close();
  }
}

if (import.meta.main) {
  await runTask(async () => {
    const { values } = parseArgs({
      options: { tenant: { type: 'string', default: 'acme' }, reset: { type: 'boolean', default: false } },
    });
    const { DATABASE_URL } = readConfig({ DATABASE_URL: urlOf(['postgres', 'postgresql'], 'as owner of the schema') });
    await seedMessaging(DATABASE_URL, values);
  });
}
