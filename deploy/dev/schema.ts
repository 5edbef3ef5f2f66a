/** Brings the databases of the embedded default up to date: migrations, role passwords, the local tenant. */

import { join } from 'node:path';
import pg from 'pg';
import { migrate } from '#platform/database/migrate.ts';
import { REPOSITORY } from './paths.ts';
import { type DevSecrets, ROLES } from './secrets.ts';

/** The tenant that local people and the demo belong to. */
export const DEV_TENANT = 'acme';

const KIT = { directory: 'catalog-kit/migrations', record: 'kit_migrations' };

/** The folders of migrations, in order, with the schema each builds. */
const FOLDERS: readonly { readonly schema: string; readonly directory: string; readonly record?: string }[] = [
  { schema: 'steward', directory: 'platform/database/migrations' },
  { schema: 'projects', ...KIT },
  { schema: 'projects', directory: 'services/catalogs/projects/migrations' },
  { schema: 'orders', ...KIT },
  { schema: 'orders', directory: 'services/catalogs/orders/migrations' },
  { schema: 'messaging', ...KIT },
  { schema: 'messaging', directory: 'services/catalogs/messaging/migrations' },
];

/** Applies all migrations, gives the roles their passwords and makes the local tenant. Safe with many starters. */
export async function prepareDatabase(url: string, secrets: Pick<DevSecrets, 'passwords'>): Promise<void> {
  for (const folder of FOLDERS) {
    await migrate({ url, ...folder, directory: join(REPOSITORY, folder.directory) });
  }
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 10_000, statement_timeout: 30_000 });
  await client.connect();
  try {
    await client.query('begin');
    await client.query("select pg_advisory_xact_lock(hashtext('steward.dev'))");
    for (const role of Object.values(ROLES)) {
      const password = client.escapeLiteral(secrets.passwords[role] ?? '');
      await client.query(`alter role ${client.escapeIdentifier(role)} login password ${password}`);
    }
    await client.query('select set_config($1, $2, true)', ['app.tenant', DEV_TENANT]);
    await client.query(
      `insert into steward.tenants (id, tier, month_budget_micro_usd, max_concurrent_runs, max_runs_per_day,
         allowed_email_domains)
       values ($1, 'enterprise', 1000000000, 100, 100000, '{northwind.example}') on conflict (id) do nothing`,
      [DEV_TENANT],
    );
    // The demo deletes two tasks, and may be played as often as one likes.
    await client.query(
      `insert into steward.quantity_limits (tenant, quantity, scope, amount, outcome, tier, set_by)
       values ($1, 'rows.deleted', 'user-hour', 10000, 'deny', 0, 'dev') on conflict do nothing`,
      [DEV_TENANT],
    );
    await client.query('commit');
  } finally {
    await client.end();
  }
}

/** The address of the same database as one of the roles. */
export function urlFor(url: string, role: string, password: string): string {
  const own = new URL(url);
  own.username = role;
  own.password = password;
  return own.href;
}
