import { randomBytes } from 'node:crypto';
import type { WorkflowHandle, WorkflowStartOptions } from '@temporalio/client';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import { runActivity } from '#activities/run-context.ts';
import type { RunningTemporal } from '#deploy/dev/temporal.ts';
import { StewardError } from '#domain/errors.ts';
import { workflowIdOf } from '#domain/ids.ts';
import type { CloseRunInput, JudgedCall, RunActivities, ThinkResult } from '#domain/ports/run-activities.ts';
import { DEFAULT_LIMITS, DEFAULT_WAITS } from '#domain/run.ts';
import { type RunInput, type RunOutput, type RunStateView, STATE_QUERY } from '#domain/run-workflow.ts';
import { connectTemporal, type Temporal } from '#platform/temporal/client.ts';
import { workflowBundle } from '#services/worker/bundle.ts';
import { testTemporal } from './temporal.ts';

/** What an activity of a script is told beside its input. */
export interface Played {
  /** Aborts as the real activities' signal does. */
  readonly signal: AbortSignal;
  /** Which call of this activity in this run it is, from 1. */
  readonly nth: number;
  readonly attempt: number;
}

/** What the activities of one run do; those left out do the plainest thing. */
export type Script = {
  readonly [K in keyof RunActivities]?: (
    input: Parameters<RunActivities[K]>[0],
    played: Played,
  ) => Promise<Awaited<ReturnType<RunActivities[K]>>> | Awaited<ReturnType<RunActivities[K]>>;
};

/** One run of the real workflow on a real Temporal. */
export interface ScriptedRun {
  readonly id: string;
  readonly handle: WorkflowHandle;
  /** Activities as they began, by name: `think 1`, `act 1.0`, `confirmDecision a1`, `closeRun`. */
  readonly began: string[];
  /** What closeRun was given. */
  readonly closed: CloseRunInput[];
  state(): Promise<RunStateView>;
  /** Waits until the query says so, for ten seconds at most. */
  until(holds: (state: RunStateView) => boolean): Promise<RunStateView>;
  /** Waits until so many activities have begun whose line starts like this. */
  untilBegan(line: string, times?: number): Promise<void>;
  /** Result of the workflow, through continue-as-new. */
  result(): Promise<RunOutput>;
  /** Waits until so many timers have fired, for `ms` at most. */
  untilTimersFired(times: number, ms?: number): Promise<void>;
  /** Search attributes by name. */
  attributes(): Promise<Record<string, unknown>>;
  /** The text on the run's page in Temporal's Web UI. */
  details(): Promise<string>;
  /** Kinds of the events of the last execution's history: `timerStarted`. */
  events(): Promise<string[]>;
  /** How the workflow's last execution ended in Temporal. */
  ending(): Promise<{ readonly status: string; readonly message: string; readonly type: string }>;
}

export interface RunWorkflows {
  readonly temporal: Temporal;
  start(
    script: Script,
    input?: Partial<RunInput>,
    options?: Pick<WorkflowStartOptions, 'startDelay'>,
  ): Promise<ScriptedRun>;
  stop(): Promise<void>;
}

const NO_PUSH = { onStop: () => () => undefined, epoch: () => 0 };
const SILENT = { warn: () => undefined };
const POLL_MS = 25;
const LONGEST_MS = 10_000;

const PLAIN: Required<Script> = {
  think: () => ({ kind: 'final', tokens: 10, costMicroUsd: 100 }),
  act: () => ({ outcome: 'done' }),
  confirmDecision: () => ({ state: 'open' }),
  closeRun: () => ({ costMicroUsd: 700, steps: 3, unknown: 0 }),
};

/** The production workflows on a Temporal of one test file, with activities that each test writes. */
export async function runWorkflows(): Promise<RunWorkflows> {
  quietRuntime();
  const [server, codePath] = await Promise.all([testTemporal(), workflowBundle(undefined)]);
  const temporal = connectTemporal({ address: server.address, namespace: server.namespace });
  const runs = new Map<string, { readonly script: Script; readonly run: ScriptedRun }>();
  // Where a test has failed, what its script still waits for must not keep the worker.
  const over = Promise.withResolvers<never>();
  over.promise.catch(() => undefined);
  const play =
    <K extends keyof RunActivities>(name: K, lineOf: (input: Parameters<RunActivities[K]>[0]) => string) =>
    (input: Parameters<RunActivities[K]>[0]) =>
      runActivity(input, NO_PUSH, SILENT, async (signal, attempt) => {
        const known = runs.get(input.run);
        if (!known) throw new Error(`no script for ${input.run}`);
        const nth = known.run.began.filter((line) => line.startsWith(name)).length + 1;
        known.run.began.push(`${name} ${lineOf(input)}`.trim());
        const scripted = (known.script[name] ?? PLAIN[name]) as NonNullable<Script[K]>;
        return Promise.race([scripted(input, { signal, nth, attempt }), over.promise]);
      });
  const activities = {
    think: play('think', (input) => String(input.turn)),
    act: play('act', (input) => input.call),
    confirmDecision: play('confirmDecision', (input) => input.approval),
    closeRun: play('closeRun', (input) => {
      runs.get(input.run)?.run.closed.push(input);
      return input.giveUp ? 'giving up' : '';
    }),
  };
  const worker = await startWorker(server, codePath, activities);
  return {
    temporal,
    async start(script, input = {}, options = {}) {
      const id = `r${randomBytes(6).toString('hex')}`;
      const run = scriptedRun(temporal, id);
      runs.set(id, { script, run });
      const full: RunInput = {
        tenant: 'acme',
        run: id,
        agent: 'helper',
        limits: DEFAULT_LIMITS,
        waits: DEFAULT_WAITS,
        ...input,
      };
      await temporal.client.workflow.start('agentRun', {
        workflowId: workflowIdOf(id),
        taskQueue: QUEUE,
        args: [full],
        workflowExecutionTimeout: '2m',
        ...options,
      });
      return run;
    },
    async stop() {
      over.reject(new Error('the tests are over'));
      await worker.stop();
      await temporal.close();
      await server.stop();
    },
  };
}

const QUEUE = 'scripted-runs';

async function startWorker(server: RunningTemporal, codePath: string, activities: object) {
  const connection = await NativeConnection.connect({ address: server.address });
  const worker = await Worker.create({
    connection,
    namespace: server.namespace,
    workflowBundle: { codePath },
    taskQueue: QUEUE,
    activities,
    maxHeartbeatThrottleInterval: '200ms',
    defaultHeartbeatThrottleInterval: '200ms',
    shutdownGraceTime: '1s',
    shutdownForceTime: '10s',
  });
  const running = worker.run();
  return {
    async stop() {
      worker.shutdown();
      await running;
      await connection.close();
    },
  };
}

let installed = false;

function quietRuntime(): void {
  if (installed) return;
  installed = true;
  const logger = new DefaultLogger('ERROR');
  Runtime.install({ logger, shutdownSignals: [], telemetryOptions: { logging: { forward: {}, filter: 'ERROR' } } });
}

function scriptedRun(temporal: Temporal, id: string): ScriptedRun {
  const handle = temporal.client.workflow.getHandle(workflowIdOf(id));
  const began: string[] = [];
  const state = () => handle.query<RunStateView>(STATE_QUERY);
  const run: ScriptedRun = {
    id,
    handle,
    began,
    closed: [],
    state,
    until: (holds) => poll(async () => ((view) => (holds(view) ? view : null))(await state()), 'the state'),
    async untilBegan(line, times = 1) {
      const count = () => began.filter((one) => one.startsWith(line)).length;
      await poll(async () => (count() >= times ? true : null), `${times} of "${line}" in ${JSON.stringify(began)}`);
    },
    result: () => handle.result() as Promise<RunOutput>,
    async untilTimersFired(times, ms) {
      const count = async () => (await run.events()).filter((kind) => kind === 'timerFired').length;
      await poll(async () => ((await count()) >= times ? true : null), `${times} fired timers`, ms);
    },
    async attributes() {
      const { typedSearchAttributes } = await handle.describe();
      return Object.fromEntries(typedSearchAttributes.getAll().map(({ key, value }) => [key.name, value]));
    },
    async details() {
      const { currentDetails } = await handle.query<{ currentDetails?: string }>('__temporal_workflow_metadata');
      return currentDetails ?? '';
    },
    async events() {
      const { events } = await handle.fetchHistory();
      const suffix = 'EventAttributes';
      return (events ?? []).flatMap((event) =>
        Object.keys(event)
          .filter((key) => key.endsWith(suffix))
          .map((key) => key.slice(0, -suffix.length)),
      );
    },
    async ending() {
      const failure = await handle.result().then(
        () => null,
        (error: { cause?: { message?: string; type?: string } }) => error.cause,
      );
      const { status } = await handle.describe();
      return { status: status.name, message: failure?.message ?? '', type: failure?.type ?? '' };
    },
  };
  return run;
}

/** Looks until `look` finds something; an error says what was missing. */
async function poll<T>(look: () => Promise<T | null>, what: string, ms = LONGEST_MS): Promise<T> {
  for (const end = Date.now() + ms; Date.now() < end; ) {
    const found = await look();
    if (found !== null) return found;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new Error(`gave up waiting for ${what}`);
}

let sigs = 0;

/** A call as the guard would have allowed it. */
export function allowed(id: string, more: Partial<JudgedCall> = {}): JudgedCall {
  sigs += 1;
  return { id, tool: 'tool', verdict: 'allow', digest: 'd'.repeat(64), sig: `sig-${sigs}`, ...more };
}

/** A call as the guard would have a person asked about it. */
export function asked(id: string, approval: string, more: Partial<JudgedCall> = {}): JudgedCall {
  const expiresAt = Date.now() + 3_600_000;
  return allowed(id, { verdict: 'ask', approval, expiresAt, effect: true, ...more });
}

/** A turn that proposes these. */
export function proposing(...calls: JudgedCall[]): ThinkResult {
  return { kind: 'calls', calls, tokens: 10, costMicroUsd: 100 };
}

/** Proposes these in the first turn and is done in the second. */
export function once(...calls: JudgedCall[]): NonNullable<Script['think']> {
  const first = proposing(...calls);
  return (input) => (input.turn === 1 ? first : { kind: 'final', tokens: 1, costMicroUsd: 1 });
}

/** Lasts until it is told to stop, as a model call or a tool does. */
export function untilStopped(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(new StewardError('CANCELLED', 'stopped')), { once: true });
  });
}

/** A promise and what settles it. */
export function gate<T = void>(): PromiseWithResolvers<T> {
  return Promise.withResolvers<T>();
}
