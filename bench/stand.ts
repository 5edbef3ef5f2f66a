import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import type { DevPaths } from '#deploy/dev/paths.ts';
import { LOOPBACK } from '#deploy/dev/ports.ts';
import { type RunningService, startService } from '#deploy/dev/processes.ts';
import { type OnProgress, withProgress } from '#deploy/dev/progress.ts';
import { DEV_TENANT } from '#deploy/dev/schema.ts';
import { DEV_AUDIENCE, DEV_ISSUER } from '#deploy/dev/secrets.ts';
import { type Stack, startStack } from '#deploy/dev/stack.ts';
import { AdminService } from '#gen/steward/admin/v1/admin_service_pb.ts';
import { RunService } from '#gen/steward/run/v1/run_service_pb.ts';
import { type Client, connect } from '#platform/grpc/client.ts';
import type { Role } from '#platform/identity/principal.ts';
import { mintToken } from '#platform/identity/tokens.ts';
import { connectTemporal, type Temporal } from '#platform/temporal/client.ts';
import { seedProjects } from '#services/catalogs/projects/seed.ts';
import { BARE_TABLES } from './bare/activities.ts';
import { BENCH_CATALOG, type BenchCatalog, serveBenchCatalog } from './catalog/serve.ts';
import { type BenchHome, benchEnvironment } from './home.ts';

/** Everything the benchmark works on. */
export interface Stand {
  readonly runs: Client<typeof RunService>;
  readonly temporal: Temporal;
  /** As superuser. */
  readonly database: pg.Pool;
  /** Whether the Postgres was started for this, and is nobody else's. */
  readonly ownDatabase: boolean;
  readonly catalog: BenchCatalog;
  /** Base address of the offline model. */
  readonly model: string;
  /** A project that tasks can be filed in. */
  readonly project: string;
  /** Where what else is started beside it finds it. */
  readonly servers: { readonly databaseUrl: string; readonly temporal: string; readonly namespace: string };
  readonly paths: DevPaths;
  /** Aborted on Ctrl-C, and where a process of the stack has ended by itself. */
  readonly signal: AbortSignal;
}

export interface StandOptions {
  readonly home: BenchHome;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly onProgress: OnProgress;
  readonly signal: AbortSignal;
}

const TOKEN_S = 3_600;
const WHO = {
  admin: { subject: 'bench-admin', roles: ['admin', 'operator'] },
  desk: { subject: 'bench-desk', roles: ['service'], onBehalfOf: 'ada@acme.example' },
} as const satisfies Record<string, { subject: string; roles: readonly Role[]; onBehalfOf?: string }>;

/** Brings everything up, hands it to `work`, and takes it down again, whatever happens. */
export async function withStand<T>(options: StandOptions, work: (stand: Stand) => Promise<T>): Promise<T> {
  const undo: (() => Promise<unknown>)[] = [];
  try {
    return await work(await bringUp(options, undo));
  } finally {
    options.onProgress('Taking everything down');
    for (const step of undo.toReversed()) await step();
  }
}

async function bringUp(options: StandOptions, undo: (() => Promise<unknown>)[]): Promise<Stand> {
  const { home, onProgress } = options;
  const { env, catalogPort } = await benchEnvironment(options.env);
  const listen = `${LOOPBACK}:${catalogPort}`;
  const catalogs = [
    `projects=${LOOPBACK}:${env.STEWARD_PROJECTS_PORT}`,
    `messaging=${LOOPBACK}:${env.STEWARD_MESSAGING_PORT}`,
    `${BENCH_CATALOG}=${listen}`,
  ].join(',');
  const known = { STEWARD_CATALOGS: catalogs };
  const stack = await startStack({
    paths: home.paths,
    env,
    onProgress,
    signal: options.signal,
    serviceEnv: {
      'offline-model': { OFFLINE_MODEL_SCRIPTS: join(import.meta.dirname, 'scripts') },
      guard: known,
      'run-api': known,
      worker: known,
    },
  });
  undo.push(() => stack.stop());
  const stopped = new AbortController();
  void stack.lost.then((name) => stopped.abort(new Error(`${name} has ended by itself; see ${home.paths.logs}`)));
  const signal = AbortSignal.any([options.signal, stopped.signal]);

  const database = new pg.Pool({
    connectionString: stack.databaseUrl,
    max: 3,
    application_name: 'steward-bench',
    statement_timeout: 60_000,
  });
  database.on('error', () => {});
  undo.push(() => database.end());
  await database.query(BARE_TABLES);
  const catalog = await serveBenchCatalog(stack, listen);
  undo.push(() => catalog.close());
  const bare = await withProgress(onProgress, 'Starting the loops to compare with', startBare(stack, options));
  undo.push(() => bare.stop());

  const { temporal: address, namespace } = stack.environment;
  const apiKey = env.TEMPORAL_API_KEY;
  const temporal = connectTemporal({ address, namespace, ...(apiKey ? { apiKey } : {}) });
  undo.push(() => temporal.close());
  const admin = connect(AdminService, { address: stack.environment.runApi, token: tokenOf(stack, WHO.admin) });
  const runs = connect(RunService, { address: stack.environment.runApi, token: tokenOf(stack, WHO.desk) });
  undo.push(async () => [admin, runs].map((connection) => connection.close()));
  for (const name of ['bench-turns', 'bench-long', 'bench-stream', 'bench-hold']) {
    await admin.client.applyAgent({
      yaml: await readFile(join(import.meta.dirname, 'agents', `${name}.yaml`), 'utf8'),
    });
  }
  await seedProjects(stack.databaseUrl, { tenant: DEV_TENANT });
  return {
    runs: runs.client,
    temporal,
    database,
    ownDatabase: !env.DATABASE_URL,
    catalog,
    model: stack.offlineModel ?? '',
    project: await firstProject(database),
    servers: { databaseUrl: stack.databaseUrl, temporal: address, namespace },
    paths: home.paths,
    signal,
  };
}

function tokenOf(stack: Stack, who: (typeof WHO)[keyof typeof WHO]): () => Promise<string> {
  let token: Promise<string> | undefined;
  const claims = { issuer: DEV_ISSUER, audience: DEV_AUDIENCE, tenant: DEV_TENANT, ...who };
  return () => (token ??= mintToken(stack.secrets.tokens.privateJwk, claims, TOKEN_S));
}

function startBare(stack: Stack, options: StandOptions): Promise<RunningService> {
  return startService(options.home.paths, {
    name: 'bench-bare',
    entry: join(import.meta.dirname, 'bare/main.ts'),
    env: {
      DATABASE_URL: stack.databaseUrl,
      TEMPORAL_ADDRESS: stack.environment.temporal,
      TEMPORAL_NAMESPACE: stack.environment.namespace,
      TEMPORAL_API_KEY: options.env.TEMPORAL_API_KEY,
      ANTHROPIC_BASE_URL: stack.offlineModel,
    },
    signal: options.signal,
  });
}

async function firstProject(database: pg.Pool): Promise<string> {
  const { rows } = await database.query('select id from projects.projects where tenant = $1 order by id limit 1', [
    DEV_TENANT,
  ]);
  const id = (rows[0] as { id?: unknown } | undefined)?.id;
  if (typeof id !== 'string') throw new Error('The seed made no project to file tasks in.');
  return id;
}
