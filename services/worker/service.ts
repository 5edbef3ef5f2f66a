import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { z } from 'zod';
import type { StopPush } from '#activities/run-context.ts';
import { StewardError } from '#domain/errors.ts';
import type { ModelPort } from '#domain/ports/model.ts';
import type { CatalogPort, GuardPort } from '#domain/ports/services.ts';
import { RUN_TASK_QUEUE } from '#domain/run-workflow.ts';
import { connectCatalogs } from '#platform/clients/catalogs.ts';
import { connectGuard } from '#platform/clients/guard.ts';
import { parseCatalogs } from '#platform/config/catalogs.ts';
import { grantVariables, type readConfig, required, serviceVariables } from '#platform/config/service.ts';
import { connect } from '#platform/database/connect.ts';
import { notifier } from '#platform/database/notify.ts';
import type { Database } from '#platform/database/tables.ts';
import { createTraceStore } from '#platform/database/traces.ts';
import { tokenFromFile, tokensInDirectory } from '#platform/grpc/token-file.ts';
import { runGrantVerifier } from '#platform/identity/grants.ts';
import { modelsFrom, modelVariables } from '#platform/llm/from-environment.ts';
import { createRouter } from '#platform/llm/router.ts';
import { createLog } from '#platform/telemetry/log.ts';
import { tracing } from '#platform/telemetry/tracing.ts';
import { connectTemporal, type Temporal, textOfTemporal } from '#platform/temporal/client.ts';
import { workflowBundle } from './bundle.ts';
import { ensureSchedules } from './schedules.ts';
import { anchoringFrom, startSealing } from './sealing.ts';
import { listenForStops } from './stop-push.ts';
import { createTracer } from './tracer.ts';
import { startWorkers } from './worker.ts';

const whole = (fallback: number) =>
  z.coerce.number('must be a whole number').int().min(1).max(100_000).default(fallback);

const SCHEDULE_TRIES = 5;
const SCHEDULE_MS = 15_000;
const SCHEDULE_WAIT_MS = 1_000;

/** What the worker reads from its environment. */
export const workerVariables = {
  DATABASE_URL: serviceVariables.DATABASE_URL,
  STEWARD_LOG_LEVEL: serviceVariables.STEWARD_LOG_LEVEL,
  STEWARD_RUN_GRANT_JWKS: grantVariables.STEWARD_RUN_GRANT_JWKS,
  /** `host:port` of Temporal's frontend. */
  TEMPORAL_ADDRESS: required("host:port of Temporal's frontend"),
  TEMPORAL_NAMESPACE: required('the Temporal namespace'),
  /** Temporal Cloud's API key; turns TLS on. A secret. */
  TEMPORAL_API_KEY: z.string().optional(),
  STEWARD_GUARD_ADDRESS: required('host:port of the guard'),
  /** `name=host:port`, comma-separated. */
  STEWARD_CATALOGS: required('catalogs as name=host:port, comma-separated'),
  /** File with a bearer token of role `worker`; read again as it is rotated. */
  STEWARD_SERVICE_TOKEN_FILE: required('a file with a bearer token of role worker'),
  /** Directory with `<catalog>.token` files: bearer tokens of role `worker`, each for the audience of one catalog. */
  STEWARD_CATALOG_TOKEN_DIR: required('a directory with <catalog>.token files, bearer tokens of role worker'),
  ...modelVariables,
  /** How long a provider that is out is left alone by agents that have a fallback, in milliseconds. */
  STEWARD_MODEL_RETRY_MS: whole(30_000),
  /** A prebuilt workflow bundle, as in images. */
  STEWARD_WORKFLOW_BUNDLE: z.string().optional(),
  /** Activities at once. */
  STEWARD_WORKER_SLOTS: whole(100),
  /** Runs kept in memory. */
  STEWARD_WORKER_CACHED_RUNS: whole(500),
  /** Private key that signs heads of the audit log; the worker seals it. */
  STEWARD_AUDIT_KEY_FILE: z.string().optional(),
  /** Directory, best on another machine, that signed heads are appended to. */
  STEWARD_AUDIT_ANCHORS: z.string().optional(),
  /** How long activities may go on after SIGTERM, in milliseconds. Longer than the longest model call in production. */
  STEWARD_WORKER_GRACE_MS: whole(90_000),
} as const;

export type WorkerConfig = ReturnType<typeof readConfig<typeof workerVariables>>;

/** Parts that suites put something else around. */
export interface Wrap {
  readonly model?: (model: ModelPort) => ModelPort;
  readonly guard?: (guard: GuardPort) => GuardPort;
  readonly catalogs?: (catalogs: CatalogPort) => CatalogPort;
  readonly push?: (push: StopPush) => StopPush;
}

/** Wires a worker from its environment and starts it. */
export async function startWorkerService(
  config: WorkerConfig,
  wrap: Wrap = {},
): Promise<{ readonly queue: string; stop(): Promise<void> }> {
  const log = createLog('worker', config.STEWARD_LOG_LEVEL);
  const models = modelsFrom(config);
  const bundle = await workflowBundle(config.STEWARD_WORKFLOW_BUNDLE);
  const anchors = await anchoringFrom(config.STEWARD_AUDIT_KEY_FILE, config.STEWARD_AUDIT_ANCHORS);
  const database = connect<Database>(config.DATABASE_URL, { max: 20, name: 'steward-worker' });
  const token = tokenFromFile(config.STEWARD_SERVICE_TOKEN_FILE);
  const guard = connectGuard({ address: config.STEWARD_GUARD_ADDRESS, token });
  const catalogs = connectCatalogs({
    addresses: parseCatalogs(config.STEWARD_CATALOGS),
    token: tokensInDirectory(config.STEWARD_CATALOG_TOKEN_DIR),
  });
  const router = createRouter(models, { halfOpenAfterMs: config.STEWARD_MODEL_RETRY_MS });
  const apiKey = config.TEMPORAL_API_KEY === undefined ? {} : { apiKey: config.TEMPORAL_API_KEY };
  const temporal = connectTemporal({
    address: config.TEMPORAL_ADDRESS,
    namespace: config.TEMPORAL_NAMESPACE,
    ...apiKey,
  });
  const push = listenForStops({
    url: config.DATABASE_URL,
    db: database.db,
    onError: (err) => log.warn({ err }, 'could not look for kill switches'),
  });
  const wake = notifier(database.db, { onError: (err) => log.warn({ err }, 'could not notify') });
  const spans = tracing();
  const tracer =
    spans === null ? undefined : createTracer({ store: createTraceStore(database.db), tracing: spans, log });
  const workers = await startWorkers(
    {
      db: database.db,
      grants: runGrantVerifier(config.STEWARD_RUN_GRANT_JWKS),
      notifier: wake,
      temporal,
      model: wrap.model?.(router) ?? router,
      chooser: router,
      guard: wrap.guard?.(guard) ?? guard,
      catalogs: wrap.catalogs?.(catalogs) ?? catalogs,
      undo: { guard, catalogs },
      push: wrap.push?.(push) ?? push,
      log,
      ...(tracer === undefined ? {} : { tracer }),
    },
    {
      address: config.TEMPORAL_ADDRESS,
      namespace: config.TEMPORAL_NAMESPACE,
      ...apiKey,
      bundle,
      slots: config.STEWARD_WORKER_SLOTS,
      cachedRuns: config.STEWARD_WORKER_CACHED_RUNS,
      graceMs: config.STEWARD_WORKER_GRACE_MS,
    },
  );
  const running = workers.run();
  running.catch((error: unknown) => {
    log.fatal({ err: error }, 'the worker failed');
    process.exit(1);
  });
  await putSchedules(temporal, log);
  const sealing = startSealing({ db: database.db, log, anchors });
  return {
    queue: RUN_TASK_QUEUE,
    async stop() {
      workers.shutdown();
      await running.catch(() => undefined);
      await tracer?.close();
      await sealing.stop();
      await push.close();
      await wake.close();
      guard.close();
      catalogs.close();
      await temporal.close();
      await database.close();
    },
  };
}

/** Temporal may be too busy for a moment; a worker that has taken up its runs already does not end for it. */
async function putSchedules(temporal: Temporal, log: Logger): Promise<void> {
  for (let left = SCHEDULE_TRIES - 1; ; left -= 1) {
    try {
      return await temporal.within(new Date(Date.now() + SCHEDULE_MS), () => ensureSchedules(temporal.client));
    } catch (error) {
      const text = textOfTemporal(error);
      if (left === 0) throw new StewardError('UNAVAILABLE', `The background jobs could not be scheduled: ${text}`);
      log.warn({ err: error, left }, 'could not schedule the background jobs yet');
      await sleep(SCHEDULE_WAIT_MS);
    }
  }
}
