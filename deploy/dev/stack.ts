/** Everything of the embedded default, up in the right order and down again. */

import { join } from 'node:path';
import { type DevEnvironment, removeEnvironment, writeEnvironment } from './environment.ts';
import { lockHome } from './lock.ts';
import { hasModelProvider } from './model-providers.ts';
import { type DevPaths, preparePaths, REPOSITORY } from './paths.ts';
import { assertPortFree, LOOPBACK, type PortSpec, portOf } from './ports.ts';
import { POSTGRES_PORT, type RunningPostgres, startPostgres } from './postgres.ts';
import { type RunningService, startService, stopLeftovers } from './processes.ts';
import { type OnProgress, withProgress } from './progress.ts';
import { prepareDatabase, urlFor } from './schema.ts';
import { CATALOGS, catalogAudience, DEV_AUDIENCE, DEV_ISSUER, type DevSecrets, openSecrets, ROLES } from './secrets.ts';
import { type RunningTemporal, startTemporal } from './temporal.ts';
import { findTemporal, type TemporalSource } from './temporal-binary.ts';
import { readTemporalDev, temporalPorts } from './temporal-config.ts';

/** Steward's own processes, and the variables that move their ports. */
export const SERVICES = {
  'offline-model': { what: 'the offline model', variable: 'STEWARD_OFFLINE_MODEL_PORT', fallback: 7730 },
  'mail-sink': { what: 'the local mail server', variable: 'STEWARD_SMTP_PORT', fallback: 7725 },
  projects: { what: 'the projects catalog', variable: 'STEWARD_PROJECTS_PORT', fallback: 7721 },
  orders: { what: 'the orders catalog', variable: 'STEWARD_ORDERS_PORT', fallback: 7723 },
  messaging: { what: 'the messaging catalog', variable: 'STEWARD_MESSAGING_PORT', fallback: 7722 },
  guard: { what: 'the guard', variable: 'STEWARD_GUARD_PORT', fallback: 7711 },
  'run-api': { what: 'run-api', variable: 'STEWARD_RUN_API_PORT', fallback: 7710 },
  worker: null,
} as const satisfies Record<string, PortSpec | null>;

export type ServiceName = keyof typeof SERVICES;
/** What Steward's processes keep their state in. */
export type ServerName = 'postgres' | 'temporal';

const ENTRIES: Readonly<Record<ServiceName, string>> = {
  'offline-model': 'services/offline-model/main.ts',
  'mail-sink': 'deploy/dev/mail-sink.ts',
  projects: 'services/catalogs/projects/main.ts',
  orders: 'services/catalogs/orders/main.ts',
  messaging: 'services/catalogs/messaging/main.ts',
  guard: 'services/guard/main.ts',
  'run-api': 'services/run-api/main.ts',
  worker: 'services/worker/main.ts',
};

/** A busy machine with two cores takes its time. */
const READY_MS = 120_000;

type Env = Readonly<Record<string, string | undefined>>;

export interface StackOptions {
  readonly paths: DevPaths;
  readonly env?: Env;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal;
  /** Entry files, relative to the repository, in place of the usual ones: suites compose defective services. */
  readonly entries?: Partial<Record<ServiceName, string>>;
  /** Added to a service's environment. */
  readonly serviceEnv?: Partial<Record<ServiceName, Env>>;
}

export interface Stack {
  readonly environment: DevEnvironment;
  readonly secrets: DevSecrets;
  /** As superuser: for seeds and for suites that count effects. A secret. */
  readonly databaseUrl: string;
  /** The worker's model provider: the offline model's address, or undefined for the real one. */
  readonly offlineModel: string | undefined;
  /** File that the local mail server writes its messages to. */
  readonly mailFile: string;
  readonly addresses: Readonly<Record<Exclude<ServiceName, 'worker'>, string>>;
  service(name: ServiceName): RunningService;
  /** Starts a service that has ended, or was ended, again: same port, same environment. */
  restart(name: ServiceName): Promise<RunningService>;
  /** The running Postgres or Temporal; without a pid where an address replaces it. */
  server(name: ServerName): { readonly pid?: number; readonly exited: Promise<unknown> };
  /** Ends Postgres or Temporal, if it still runs, and starts it again on the same data and ports. */
  restartServer(name: ServerName): Promise<void>;
  /** Resolves with the name of the first process that ends unasked. */
  readonly lost: Promise<string>;
  /** Ends everything that was started; data is kept. Safe to repeat. */
  stop(): Promise<void>;
}

/**
 * Brings up Temporal, Postgres, every service and the worker; what an address replaces is not started. On failure what
 * was started is ended again.
 */
export async function startStack(options: StackOptions): Promise<Stack> {
  const { paths, env = process.env, onProgress = () => undefined } = options;
  await preparePaths(paths);
  const lock = await lockHome(paths.home);
  const undo: (() => Promise<void>)[] = [async () => lock.release()];
  const stop = once(async () => {
    await removeEnvironment(paths);
    for (const step of undo.toReversed()) await step();
  });
  try {
    await stopLeftovers(paths, ['postgres', 'temporal']);
    return await bringUp({ ...options, env, onProgress }, undo, stop);
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Both providers' place is taken by the offline model, or neither's: it must never answer for one that fails. */
function offlineProviders(url: string): Env {
  return {
    ANTHROPIC_API_KEY: 'offline',
    ANTHROPIC_BASE_URL: url,
    OPENAI_API_KEY: 'offline',
    OPENAI_BASE_URL: `${url}/v1`,
  };
}

async function bringUp(
  options: StackOptions & { readonly env: Env; readonly onProgress: OnProgress },
  undo: (() => Promise<void>)[],
  stop: () => Promise<void>,
): Promise<Stack> {
  const { paths, env, onProgress, signal } = options;
  const dev = await readTemporalDev();
  const ports = await wantedPorts(env);
  const secrets = await openSecrets(paths);
  undo.push(async () => secrets.close());

  let database: RunningPostgres | undefined;
  undo.push(async () => database?.stop());
  let orchestrator: RunningTemporal | undefined;
  let temporalSource: TemporalSource | undefined;
  undo.push(async () => orchestrator?.stop());
  const [temporal, postgres] = await both(
    (async () => {
      const source = await findTemporal({ paths, dev, env, onProgress, signal });
      const running = await startTemporal({ paths, dev, source, env, onProgress, signal });
      [orchestrator, temporalSource] = [running, source];
      return running;
    })(),
    (async () => {
      const running = await startPostgres({ paths, env, onProgress, signal });
      database = running;
      await withProgress(onProgress, 'Applying migrations', prepareDatabase(running.url, secrets));
      return running;
    })(),
  );

  const at = (name: Exclude<ServiceName, 'worker'>) => `${LOOPBACK}:${ports[name]}`;
  const addresses = {
    'offline-model': at('offline-model'),
    'mail-sink': at('mail-sink'),
    projects: at('projects'),
    orders: at('orders'),
    messaging: at('messaging'),
    guard: at('guard'),
    'run-api': at('run-api'),
  };
  const real = hasModelProvider(env);
  const mailFile = join(paths.home, 'mail.jsonl');
  const temporalEnv = { TEMPORAL_ADDRESS: temporal.address, TEMPORAL_NAMESPACE: temporal.namespace };
  const common = {
    STEWARD_AUTH_ISSUER: DEV_ISSUER,
    STEWARD_AUTH_AUDIENCE: DEV_AUDIENCE,
    STEWARD_AUTH_JWKS: secrets.tokens.jwksPath,
    STEWARD_RUN_GRANT_JWKS: secrets.runGrants.jwksPath,
    STEWARD_EXECUTION_GRANT_JWKS: secrets.guard.jwksPath,
    STEWARD_SERVICE_TOKEN_FILE: secrets.serviceTokenFile,
    STEWARD_CATALOG_TOKEN_DIR: secrets.catalogTokenDirectory,
    STEWARD_CATALOGS: CATALOGS.map((name) => `${name}=${addresses[name]}`).join(','),
    STEWARD_REFLECTION: '1',
    STEWARD_LOG_LEVEL: env.STEWARD_LOG_LEVEL ?? 'info',
  };
  const own: Record<ServiceName, Env> = {
    'offline-model': {},
    'mail-sink': { STEWARD_MAIL_FILE: mailFile },
    projects: { STEWARD_AUTH_AUDIENCE: catalogAudience('projects') },
    orders: { STEWARD_AUTH_AUDIENCE: catalogAudience('orders') },
    messaging: {
      STEWARD_AUTH_AUDIENCE: catalogAudience('messaging'),
      SMTP_URL: env.SMTP_URL ?? `smtp://${addresses['mail-sink']}`,
      STEWARD_MAIL_DOMAIN: 'steward.example',
    },
    guard: { ...temporalEnv, STEWARD_GUARD_KEY_FILE: secrets.guard.privatePath },
    'run-api': {
      ...temporalEnv,
      STEWARD_RUN_GRANT_KEY_FILE: secrets.runGrants.privatePath,
      STEWARD_AUDIT_JWKS: secrets.audit.jwksPath,
      STEWARD_AUDIT_ANCHORS: join(paths.home, 'audit-anchors'),
      ...(temporal.uiUrl === undefined ? {} : { STEWARD_TEMPORAL_UI: temporal.uiUrl }),
    },
    worker: {
      ...temporalEnv,
      STEWARD_GUARD_ADDRESS: addresses.guard,
      STEWARD_AUDIT_KEY_FILE: secrets.audit.privatePath,
      STEWARD_AUDIT_ANCHORS: join(paths.home, 'audit-anchors'),
      ...(real ? {} : offlineProviders(`http://${addresses['offline-model']}`)),
    },
  };

  const running = new Map<ServiceName, RunningService>();
  let ending = false;
  const lost = Promise.withResolvers<string>();
  const watch = (name: string, exited: Promise<unknown>, still: () => boolean) => {
    void exited.then(() => {
      if (!ending && still()) lost.resolve(name);
    });
  };
  const watchTemporal = (current: RunningTemporal) => watch('temporal', current.exited, () => orchestrator === current);
  watchTemporal(temporal);
  const watchDatabase = (current: RunningPostgres) => watch('postgres', current.exited, () => database === current);
  watchDatabase(postgres);
  const start = async (name: ServiceName): Promise<RunningService> => {
    const role = (ROLES as Partial<Record<string, string>>)[name];
    const service = await startService(paths, {
      name,
      entry: join(REPOSITORY, options.entries?.[name] ?? ENTRIES[name]),
      ...(signal === undefined ? {} : { signal }),
      readyMs: READY_MS,
      env: {
        // Halves the start of a process whose source has not changed.
        NODE_COMPILE_CACHE: join(paths.cache, 'node-compile-cache'),
        ...common,
        ...(name === 'worker' ? {} : { STEWARD_LISTEN: addresses[name] }),
        ...(role === undefined ? {} : { DATABASE_URL: urlFor(postgres.url, role, secrets.passwords[role] ?? '') }),
        ...own[name],
        ...options.serviceEnv?.[name],
      },
    });
    running.set(name, service);
    watch(name, service.exited, () => running.get(name) === service);
    return service;
  };
  undo.push(async () => {
    ending = true;
    // The worker first: what it has under way still needs the others.
    await running.get('worker')?.stop();
    await Promise.all([...running.values()].map((service) => service.stop()));
  });
  const names = (Object.keys(SERVICES) as ServiceName[]).filter(
    (name) => !(name === 'offline-model' && real) && !(name === 'mail-sink' && env.SMTP_URL),
  );
  await withProgress(onProgress, 'Starting services', allOrFirstError(names.map(start)));

  const environment: DevEnvironment = {
    runApi: addresses['run-api'],
    guard: addresses.guard,
    temporal: temporal.address,
    temporalUi: temporal.uiUrl ?? '',
    namespace: temporal.namespace,
    issuer: DEV_ISSUER,
    audience: DEV_AUDIENCE,
  };
  await writeEnvironment(paths, environment);
  return {
    environment,
    secrets,
    databaseUrl: postgres.url,
    offlineModel: real ? undefined : `http://${addresses['offline-model']}`,
    mailFile,
    addresses,
    service(name) {
      const service = running.get(name);
      if (!service) throw new Error(`${name} was not started`);
      return service;
    },
    async restart(name) {
      const before = running.get(name);
      running.delete(name);
      await before?.stop();
      return start(name);
    },
    server: (name) => (name === 'postgres' ? (database ?? postgres) : (orchestrator ?? temporal)),
    async restartServer(name) {
      if (name === 'postgres') {
        const before = database;
        database = undefined;
        await before?.stop();
        const again = { ...env, [POSTGRES_PORT.variable]: String(postgres.port) };
        database = await startPostgres({ paths, env: again, onProgress });
        watchDatabase(database);
        return;
      }
      const before = orchestrator;
      orchestrator = undefined;
      await before?.stop();
      if (!temporalSource) throw new Error('Temporal was not started');
      const { grpc, ui } = temporalPorts(dev);
      const again = {
        ...env,
        [grpc.variable]: new URL(`http://${temporal.address}`).port,
        [ui.variable]: new URL(temporal.uiUrl ?? 'http://-').port,
      };
      orchestrator = await startTemporal({ paths, dev, source: temporalSource, env: again, onProgress });
      watchTemporal(orchestrator);
    },
    lost: lost.promise,
    stop,
  };
}

async function wantedPorts(env: Env): Promise<Record<Exclude<ServiceName, 'worker'>, number>> {
  const ports: Record<string, number> = {};
  for (const [name, spec] of Object.entries(SERVICES)) {
    if (!spec) continue;
    ports[name] = await portOf(spec, env);
    await assertPortFree(ports[name], spec);
  }
  return ports as Record<Exclude<ServiceName, 'worker'>, number>;
}

/** Waits for both even where one fails, so that what the other started is known and can be ended. */
async function both<A, B>(a: Promise<A>, b: Promise<B>): Promise<[A, B]> {
  const [first, second] = await Promise.allSettled([a, b]);
  if (first.status === 'rejected') throw first.reason;
  if (second.status === 'rejected') throw second.reason;
  return [first.value, second.value];
}

async function allOrFirstError(starts: readonly Promise<unknown>[]): Promise<void> {
  const failed = (await Promise.allSettled(starts)).find((result) => result.status === 'rejected');
  if (failed) throw failed.reason;
}

function once(work: () => Promise<void>): () => Promise<void> {
  let done: Promise<void> | undefined;
  return () => (done ??= work());
}
