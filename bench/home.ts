import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { acquireLock, type Lock } from '#deploy/dev/lock.ts';
import { type DevPaths, preparePaths, resolvePaths } from '#deploy/dev/paths.ts';
import { freePort, OFFSET_VARIABLE } from '#deploy/dev/ports.ts';
import { findPostmaster } from '#deploy/dev/postgres-pidfile.ts';
import { endProcess, type StopStep } from '#deploy/dev/process-table.ts';
import { stopLeftovers } from '#deploy/dev/processes.ts';
import { isStewardError, StewardError } from '#domain/errors.ts';

type Env = Readonly<Record<string, string | undefined>>;

/** A data directory of the benchmark's own, on the disk of the usual one, empty at first and removed at the end. */
export interface BenchHome {
  readonly paths: DevPaths;
  remove(): Promise<void>;
}

/** Its data is deleted next. */
const ABANDONED: readonly StopStep[] = [
  { signal: 'SIGQUIT', waitMs: 5_000 },
  { signal: 'SIGKILL', waitMs: 5_000 },
];

/** Variables of the ports that a stack opens. */
const PORTS = [
  'STEWARD_TEMPORAL_PORT',
  'STEWARD_TEMPORAL_UI_PORT',
  'STEWARD_POSTGRES_PORT',
  'STEWARD_OFFLINE_MODEL_PORT',
  'STEWARD_SMTP_PORT',
  'STEWARD_PROJECTS_PORT',
  'STEWARD_MESSAGING_PORT',
  'STEWARD_GUARD_PORT',
  'STEWARD_RUN_API_PORT',
] as const;

/**
 * Takes the directory and clears away what a killed benchmark left in it, processes included. Throws WRONG_STATE where
 * another benchmark is under way: two at once would measure each other.
 */
export async function openHome(env: Env, signal: AbortSignal): Promise<BenchHome> {
  const usual = await resolvePaths(env);
  const paths = await resolvePaths({ ...env, STEWARD_HOME: `${usual.home}-bench` });
  await preparePaths(paths);
  const lock = await lockBenchmarks(dirname(paths.home), signal);
  const clear = async () => {
    await stopLeftovers(paths);
    const postgres = findPostmaster(join(paths.postgres, 'data'));
    if (postgres !== undefined) await endProcess(postgres, ABANDONED);
    await rm(paths.home, { recursive: true, force: true, maxRetries: 3 });
  };
  try {
    await clear();
  } catch (error) {
    lock.release();
    throw error;
  }
  return {
    paths,
    async remove() {
      try {
        await clear();
      } finally {
        lock.release();
      }
    },
  };
}

/** Beside the directories, so that it outlives them, and holds for those of other clones. */
async function lockBenchmarks(folder: string, signal: AbortSignal): Promise<Lock> {
  try {
    return await acquireLock(join(folder, 'bench.lock'), { waitMs: 0, signal });
  } catch (error) {
    if (!isStewardError(error) || error.code !== 'WRONG_STATE') throw error;
    const message = `A benchmark is under way already (${String(error.details.holder)}). Let it end, or stop it.`;
    throw new StewardError('WRONG_STATE', message, { cause: error });
  }
}

/** The environment of a stack beside others: free ports throughout, no model provider but the offline model. */
export async function benchEnvironment(env: Env): Promise<{ readonly env: Env; readonly catalogPort: number }> {
  const catalogPort = await freePort();
  const ports: Record<string, string> = {};
  for (const name of PORTS) ports[name] = String(await freePort());
  return {
    catalogPort,
    env: {
      ...env,
      ...ports,
      [OFFSET_VARIABLE]: undefined,
      ANTHROPIC_API_KEY: undefined,
      OPENAI_API_KEY: undefined,
      OPENAI_BASE_URL: undefined,
      SMTP_URL: undefined,
      // A namespace of its own, so that no worker at that address takes these runs.
      ...(env.TEMPORAL_ADDRESS ? { TEMPORAL_NAMESPACE: env.TEMPORAL_NAMESPACE || 'steward-bench' } : {}),
    },
  };
}
