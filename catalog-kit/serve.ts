import { randomUUID } from 'node:crypto';
import { type Kysely, sql } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { ToolCatalog } from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import { type BoundService, bind } from '#platform/grpc/bind.ts';
import type { Log } from '#platform/grpc/call.ts';
import { type RunningServer, startServer } from '#platform/grpc/server.ts';
import { executionGrantVerifier, runGrantVerifier } from '#platform/identity/grants.ts';
import type { KeySource } from '#platform/identity/key-set.ts';
import { createVerifier } from '#platform/identity/tokens.ts';
import type { Catalog, CatalogHooks } from './catalog.ts';
import type { KitTables } from './database.ts';
import { catalogHash, describeCatalog } from './descriptor.ts';
import { postgresReceipts } from './postgres-receipts.ts';
import type { Receipts } from './receipts.ts';
import { describeTools } from './rpc/describe-tools.ts';
import { execute } from './rpc/execute.ts';
import { preview } from './rpc/preview.ts';
import { resolve } from './rpc/resolve.ts';
import { undo } from './rpc/undo.ts';
import type { Tool } from './tool.ts';

/** Whose tokens and grants a catalog accepts. Each JWKS is a path, a URL, or the set itself. */
export interface CatalogIdentity {
  readonly issuer: string;
  readonly audience: string;
  /** Public keys of the tokens' issuer. */
  readonly jwks: KeySource;
  /** Public keys of run-api. */
  readonly runGrantJwks: KeySource;
  /** Public keys of the guard; apart from run-api's, which could else stand in for it. */
  readonly executionGrantJwks: KeySource;
}

export interface CatalogOptions<Tables> {
  /** The audience of execution grants, and how agents name the catalog: lower-case letters, digits, dashes. */
  readonly name: string;
  readonly tools: readonly Tool[];
  /** Connected as the catalog's own role, with its own schema first on the search path. Stays the caller's to close. */
  readonly db: Kysely<Tables>;
  /** `host:port`; port 0 takes a free one. */
  readonly listen: string;
  readonly identity: CatalogIdentity;
  readonly log: Log;
  /** For development: lets clients ask for the contracts without a token. */
  readonly reflection?: boolean;
  /** Default: `postgresReceipts()`. */
  readonly receipts?: Receipts;
  readonly hooks?: CatalogHooks;
  /** Puts something around the service's calls. For suites; a product leaves it out. */
  readonly wrap?: (service: BoundService) => BoundService;
}

/**
 * Serves steward.catalog.v1.ToolCatalog for a set of tools, and gRPC health. Throws CATALOG_BROKEN for tools that cannot
 * be served together, WRONG_STATE where the database is not migrated or its role could see other tenants' rows.
 */
export async function serveCatalog<Tables>(options: CatalogOptions<Tables>): Promise<RunningServer> {
  const { name, identity, log } = options;
  const tools = describeCatalog(name, options.tools);
  const descriptors = [...tools.values()].map(({ descriptor }) => descriptor);
  const db = options.db as unknown as Kysely<KitTables>;
  await assertDatabase(db, name);
  const catalog: Catalog = {
    name,
    tools,
    description: { catalog: name, tools: descriptors, catalogHash: catalogHash(descriptors.map(({ hash }) => hash)) },
    db,
    receipts: options.receipts ?? postgresReceipts(),
    runGrants: runGrantVerifier(identity.runGrantJwks),
    executionGrants: executionGrantVerifier(identity.executionGrantJwks, name),
    hooks: options.hooks ?? {},
    processId: randomUUID(),
    running: new Set(),
  };
  const service = bind(ToolCatalog, {
    roles: {
      describeTools: ['worker'],
      preview: ['worker'],
      execute: ['worker'],
      resolve: ['worker'],
      undo: ['worker'],
    },
    handlers: {
      describeTools: () => describeTools(catalog),
      preview: (ctx, request) => preview(catalog, ctx, request),
      execute: (ctx, request) => execute(catalog, ctx, request),
      resolve: (ctx, request) => resolve(catalog, ctx, request),
      undo: (ctx, request) => undo(catalog, ctx, request),
    },
  });
  return await startServer({
    listen: options.listen,
    services: [options.wrap?.(service) ?? service],
    verifier: createVerifier(identity),
    log,
    reflection: options.reflection ?? false,
    health: () => answers(db),
  });
}

async function answers(db: Kysely<KitTables>): Promise<boolean> {
  return await sql`select 1`.execute(db).then(
    () => true,
    () => false,
  );
}

async function assertDatabase(db: Kysely<KitTables>, name: string): Promise<void> {
  const wrong = (why: string, cause?: unknown): StewardError =>
    new StewardError('WRONG_STATE', `The catalog ${name} cannot be served: ${why}`, { cause });
  const { rows } = await sql<{ role: string; free: boolean }>`
    select rolname as role, rolsuper or rolbypassrls as free from pg_roles where rolname = current_user`
    .execute(db)
    .catch((cause) => {
      throw new StewardError('UNAVAILABLE', `The catalog ${name} cannot reach its database. Is DATABASE_URL right?`, {
        cause,
      });
    });
  if (rows[0]?.free !== false) {
    const role = rows[0]?.role ?? 'its database role';
    throw wrong(`${role} is not held back by row-level security. Connect as the role its migrations made.`);
  }
  try {
    await db.selectFrom('receipts').select('key').limit(0).execute();
    await db.selectFrom('grants_used').select('id').limit(0).execute();
  } catch (cause) {
    throw wrong("its tables are not there or not its role's to use. Run its migrations first.", cause);
  }
}
