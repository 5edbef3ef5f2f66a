import { join } from 'node:path';
import { migrate } from '#platform/database/migrate.ts';

export interface CatalogMigrations {
  /** A role that may create schemas, roles and tables. */
  readonly url: string;
  /** The catalog's own schema. Its process then connects as `steward_<schema>`, which is made here. */
  readonly schema: string;
  /** Folder of the catalog's own migrations. */
  readonly directory: string;
}

/**
 * Brings a catalog's schema up to date: the kit's tables first, then the catalog's own. Safe with any number of starters
 * at once. Returns the names of the migrations applied by this call.
 */
export async function migrateCatalog(options: CatalogMigrations): Promise<string[]> {
  const { url, schema, directory } = options;
  const kit = join(import.meta.dirname, 'migrations');
  return [
    ...(await migrate({ url, schema, directory: kit, record: 'kit_migrations' })),
    ...(await migrate({ url, schema, directory })),
  ];
}
