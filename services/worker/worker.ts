import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { NativeConnection, Runtime, Worker } from '@temporalio/worker';
import type { Kysely } from 'kysely';
import type { Logger } from 'pino';
import { createConfirmDecision } from '#activities/decisions/confirm-decision.ts';
import { type CloseRunDeps, createCloseRun } from '#activities/journal/close-run.ts';
import { createThink } from '#activities/model/think.ts';
import type { StopPush } from '#activities/run-context.ts';
import { createAct } from '#activities/tools/act.ts';
import { BegunCalls } from '#activities/tools/begun-calls.ts';
import { createUndoCall } from '#activities/undo/undo-call.ts';
import type { ModelChooser, ModelPort } from '#domain/ports/model.ts';
import type { RunActivities } from '#domain/ports/run-activities.ts';
import type { CallStore, CloseStore, TurnStore } from '#domain/ports/run-store.ts';
import type { CatalogPort, GuardPort } from '#domain/ports/services.ts';
import type { UndoCatalogPort, UndoGuardPort } from '#domain/ports/undo.ts';
import { MAINTENANCE_TASK_QUEUE, RUN_TASK_QUEUE } from '#domain/run-workflow.ts';
import type { UndoActivities } from '#domain/undo.ts';
import { createCallStore } from '#platform/database/calls.ts';
import { createCloseStore } from '#platform/database/closing.ts';
import type { Notifier } from '#platform/database/notify.ts';
import { readRun, verifyRow } from '#platform/database/run-row.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import { createTurnStore } from '#platform/database/turns.ts';
import { createUndoStore } from '#platform/database/undos.ts';
import type { RunGrantVerifier } from '#platform/identity/grants.ts';
import type { Temporal } from '#platform/temporal/client.ts';
import { deliver } from '#platform/temporal/outbox.ts';
import { activityIds } from './activity-ids.ts';
import { createMaintenance } from './maintenance.ts';
import { sdkLog } from './sdk-log.ts';
import type { Tracer } from './tracer.ts';

/** What a worker is made of. Chaos and attack suites pass defective parts here; product mains never do. */
export interface WorkerParts {
  readonly db: Kysely<Database>;
  readonly grants: RunGrantVerifier;
  readonly notifier: Notifier;
  readonly temporal: Temporal;
  readonly model: ModelPort;
  /** Chooses between an agent's models. */
  readonly chooser: ModelChooser;
  readonly guard: GuardPort;
  readonly catalogs: CatalogPort;
  /** What undoing calls. */
  readonly undo: { readonly guard: UndoGuardPort; readonly catalogs: UndoCatalogPort };
  readonly push: StopPush;
  readonly log: Logger;
  readonly turns?: TurnStore;
  /** Absent where no exporter is configured. */
  readonly tracer?: Tracer;
}

export interface WorkerOptions {
  readonly address: string;
  readonly namespace: string;
  readonly apiKey?: string;
  /** Path of the workflow bundle. */
  readonly bundle: string;
  /** Activities at once. */
  readonly slots: number;
  /** Runs kept in memory; keep it above the runs in flight. */
  readonly cachedRuns: number;
  /** How long activities under way may go on after SIGTERM, in milliseconds: longer than the longest one. */
  readonly graceMs: number;
}

/** The activities of a run over their parts. */
export function createRunActivities(parts: WorkerParts): RunActivities & { readonly closing: CloseRunDeps } {
  const { db, push } = parts;
  const log = { warn: (message: string, facts: Readonly<Record<string, unknown>>) => parts.log.warn(facts, message) };
  const turns = parts.turns ?? createTurnStore(parts);
  const store: CallStore & CloseStore = {
    ...createCallStore(parts),
    ...toldEnds(createCloseStore(parts), parts),
  };
  const closing: CloseRunDeps = {
    store,
    catalogs: parts.catalogs,
    push,
    log,
    deliver: async (tenant, ids) => {
      await deliver(parts, tenant, ids);
    },
  };
  const begun = new BegunCalls();
  const wake = (run: string) => parts.notifier.wake(run);
  return {
    closing,
    think: createThink({
      store: turns,
      model: parts.model,
      chooser: parts.chooser,
      guard: parts.guard,
      push,
      log,
      begun,
      wake,
    }),
    act: createAct({ store, guard: parts.guard, catalogs: parts.catalogs, push, log, begun }),
    confirmDecision: createConfirmDecision({
      guard: parts.guard,
      push,
      log,
      runGrantOf: (ref) =>
        withTenant(db, ref.tenant, async (trx) => {
          const run = await readRun(trx, ref);
          await verifyRow(parts.grants, ref, run);
          return run.run_grant;
        }),
    }),
    closeRun: createCloseRun(closing),
  };
}

/** Every run's end is a line of the log and has its spans told, whoever closes it. */
function toldEnds(store: CloseStore, { log, tracer }: Pick<WorkerParts, 'log' | 'tracer'>): CloseStore {
  return {
    ...store,
    async close(ref, end) {
      await tracer?.expect(ref);
      const closed = await store.close(ref, end);
      tracer?.note(ref);
      const { costMicroUsd, steps, unknown } = closed;
      log.info({ ...ref, status: end.status, stopReason: end.reason, costMicroUsd, steps, unknown }, 'run closed');
      return closed;
    },
  };
}

/** The activities of undos over their parts. */
export function createUndoActivities(parts: WorkerParts): UndoActivities {
  const log = { warn: (message: string, facts: Readonly<Record<string, unknown>>) => parts.log.warn(facts, message) };
  return { undoCall: createUndoCall({ store: createUndoStore(parts), ...parts.undo, log }) };
}

/** Starts the workers of this process; `run` ends when `shutdown` was called and what was under way is done. */
export async function startWorkers(
  parts: WorkerParts,
  options: WorkerOptions,
): Promise<{ run(): Promise<void>; shutdown(): void; state(): string }> {
  installRuntime(parts.log);
  const connection = await NativeConnection.connect({
    address: options.address,
    ...(options.apiKey === undefined ? {} : { apiKey: options.apiKey, tls: true }),
  });
  const { closing, ...activities } = createRunActivities(parts);
  const common = {
    connection,
    namespace: options.namespace,
    workflowBundle: { codePath: options.bundle },
    // Stands in six events of every turn: the SDK's own has 87 characters, which made a history a fifth longer.
    workerDeploymentOptions: {
      version: { deploymentName: 'steward', buildId: await buildIdOf(options.bundle) },
      useWorkerVersioning: false as const,
    },
    interceptors: { activity: [activityIds((ref) => parts.tracer?.note(ref))] },
    shutdownGraceTime: options.graceMs,
    shutdownForceTime: options.graceMs + 15_000,
  };
  const runs = await Worker.create({
    ...common,
    taskQueue: RUN_TASK_QUEUE,
    activities: { ...activities, ...createUndoActivities(parts) },
    maxConcurrentActivityTaskExecutions: options.slots,
    maxCachedWorkflows: options.cachedRuns,
    // A dead worker's runs go to another one a second later, not ten.
    stickyQueueScheduleToStartTimeout: '1s',
    maxHeartbeatThrottleInterval: '800ms',
    defaultHeartbeatThrottleInterval: '800ms',
  });
  const upkeep = await Worker.create({
    ...common,
    taskQueue: MAINTENANCE_TASK_QUEUE,
    activities: createMaintenance({
      db: parts.db,
      temporal: parts.temporal,
      log: parts.log,
      closing,
      tracer: parts.tracer,
    }),
    maxConcurrentActivityTaskExecutions: 3,
    // With a cache of a few, new workflows waited for up to a minute after a start: no poll was at their queue.
    maxCachedWorkflows: 0,
    maxHeartbeatThrottleInterval: '800ms',
    defaultHeartbeatThrottleInterval: '800ms',
  });
  return {
    async run() {
      try {
        await Promise.all([runs.run(), upkeep.run()]);
      } finally {
        await connection.close();
      }
    },
    shutdown() {
      if (runs.getState() === 'RUNNING') runs.shutdown();
      if (upkeep.getState() === 'RUNNING') upkeep.shutdown();
    },
    state: () => runs.getState(),
  };
}

/** Names the workflow code: operators see in Temporal which worker of which release took a task. */
async function buildIdOf(bundle: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(bundle))
    .digest('hex')
    .slice(0, 12);
}

let installed = false;

/** The SDK would end the process on SIGTERM by itself; our main does it in its own order. */
function installRuntime(log: Logger): void {
  if (installed) return;
  installed = true;
  Runtime.install({
    logger: sdkLog(log),
    shutdownSignals: [],
    telemetryOptions: { logging: { forward: {}, filter: 'ERROR' } },
  });
}
