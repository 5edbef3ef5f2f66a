/** The Temporal of the embedded default: the real server on an SQLite file, with its Web UI, on loopback. */

import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import { StewardError } from '#domain/errors.ts';
import type { DevPaths } from './paths.ts';
import { assertPortFree, LOOPBACK, portOf } from './ports.ts';
import { type ExitInfo, endedAs, startFailure } from './process-log.ts';
import type { StopStep } from './process-table.ts';
import { type StartedProcess, startCommand, stopLeftover } from './processes.ts';
import { type OnProgress, withProgress } from './progress.ts';
import type { TemporalSource } from './temporal-binary.ts';
import { serverArguments, type TemporalDev, temporalPorts } from './temporal-config.ts';
import { connectTemporal, ensureNamespace, isServing } from './temporal-namespace.ts';

const START_MS = 60_000;
const POLL_MS = 50;
const UI_PORT_DISTANCE = 1_000;
const STOP: readonly StopStep[] = [
  { signal: 'SIGTERM', waitMs: 10_000 },
  { signal: 'SIGKILL', waitMs: 5_000 },
];

/** What `startTemporal` needs to know. */
export interface TemporalOptions {
  readonly paths: DevPaths;
  readonly dev: TemporalDev;
  readonly source: TemporalSource;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal | undefined;
}

/** A Temporal to use. */
export interface RunningTemporal {
  /** host:port of the gRPC frontend. */
  readonly address: string;
  readonly namespace: string;
  /** Base address of Temporal's own Web UI; undefined where an external one does not say. */
  readonly uiUrl: string | undefined;
  readonly source: 'external' | 'started';
  /** Of what was started here. */
  readonly pid?: number;
  /** Resolves when it ends, asked or not; never for an external one. */
  readonly exited: Promise<ExitInfo>;
  /** Ends what was started and waits for it; data is kept. Safe to repeat. */
  stop(): Promise<void>;
}

/**
 * Brings up Temporal and returns once it answers, with namespace and search attributes there. One that a killed
 * launcher left behind is stopped first: it starts anew, on the same data, within a second.
 *
 * @throws StewardError with what to do: a taken port, a server that does not come up (with the last lines of its
 *   log), an address that does not answer, attributes that cannot be made.
 */
export async function startTemporal(options: TemporalOptions): Promise<RunningTemporal> {
  const { dev, source, paths, env = process.env, onProgress = () => undefined } = options;
  if (source.kind === 'external') return useExternal(source.address, dev, env, onProgress);
  await stopLeftover(paths, 'temporal');
  const ports = temporalPorts(dev);
  const [grpc, ui] = [await portOf(ports.grpc, env), await portOf(ports.ui, env)];
  await assertPortFree(grpc, ports.grpc);
  await assertPortFree(ui, ports.ui);
  options.signal?.throwIfAborted();
  const database = join(paths.temporal, 'temporal.db');
  const child = await startCommand(paths, {
    name: 'temporal',
    command: source.path,
    args: [...serverArguments(dev, { grpc, ui, database }), '--log-level=warn'],
    env: programEnvironment(env),
    cwd: paths.temporal,
  });
  const address = `${LOOPBACK}:${grpc}`;
  try {
    const ready = bringUp(child, address, dev, options.signal);
    await withProgress(onProgress, 'Starting Temporal', ready);
  } catch (error) {
    await child.stop(STOP);
    throw error;
  }
  return {
    address,
    namespace: dev.namespace,
    uiUrl: `http://${LOOPBACK}:${ui}`,
    source: 'started',
    pid: child.pid,
    exited: child.exited,
    stop: () => child.stop(STOP),
  };
}

async function bringUp(
  child: StartedProcess,
  address: string,
  dev: TemporalDev,
  signal: AbortSignal | undefined,
): Promise<void> {
  const deadline = Date.now() + START_MS;
  // Without these, one refused connection costs a second of waiting.
  const channelArgs = { 'grpc.initial_reconnect_backoff_ms': 50, 'grpc.max_reconnect_backoff_ms': 250 };
  const connection = Connection.lazy({ address, channelArgs });
  try {
    while (!(await isServing(connection, dev.namespace))) {
      const exit = child.exit();
      if (exit !== undefined) throw startFailure(child, endedAs(exit));
      if (signal?.aborted === true) throw new StewardError('CANCELLED', 'Starting Temporal was cancelled.');
      if (Date.now() >= deadline) throw startFailure(child, `did not answer within ${START_MS / 1000} s`);
      await delay(POLL_MS);
    }
    await ensureNamespace(connection, dev, dev.namespace, true);
  } finally {
    await connection.close();
  }
}

async function useExternal(
  address: string,
  dev: TemporalDev,
  env: Readonly<Record<string, string | undefined>>,
  onProgress: OnProgress,
): Promise<RunningTemporal> {
  const namespace = env.TEMPORAL_NAMESPACE || dev.namespace;
  const connection = await connectTemporal(address, env);
  try {
    const ready = ensureNamespace(connection, dev, namespace, false);
    await withProgress(onProgress, `Preparing the namespace ${namespace} at ${address}`, ready);
  } finally {
    await connection.close();
  }
  return {
    address,
    namespace,
    uiUrl: env.TEMPORAL_UI_URL || localUi(address),
    source: 'external',
    exited: new Promise(() => undefined),
    stop: () => Promise.resolve(),
  };
}

/** A development server's Web UI is a thousand ports above its frontend. */
function localUi(address: string): string | undefined {
  const { hostname, port } = new URL(`http://${address}`);
  const local = hostname === 'localhost' || hostname === LOOPBACK;
  return local ? `http://${hostname}:${Number(port || 80) + UI_PORT_DISTANCE}` : undefined;
}

/** Without the variables by which the CLI would take its settings from somewhere else. */
function programEnvironment(env: Readonly<Record<string, string | undefined>>): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith('TEMPORAL_')));
}
