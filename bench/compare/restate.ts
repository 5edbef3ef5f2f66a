import { join } from 'node:path';
import { freePort, LOOPBACK } from '#deploy/dev/ports.ts';
import { startCommand } from '#deploy/dev/processes.ts';
import type { Stand } from '../stand.ts';
import { until } from '../waiting.ts';
import { restateProgram } from './install.ts';

/** A Restate server of the benchmark's own: one node, as it comes. */
export interface RestateServer {
  readonly admin: string;
  readonly ingress: string;
  /** Bytes that its log server has written to its log so far, each waited for until it is on the disk. */
  logged(): Promise<number>;
  stop(): Promise<void>;
}

const START_MS = 60_000;
const CALL_MS = 10_000;
const LOGGED = /^restate_rocksdb_wal_bytes_total\{[^}]*db="log-server"[^}]*\} ([\d.e+]+)$/m;

/** Starts it, with its data in the benchmark's directory. Throws where its program is missing or does not come up. */
export async function startRestate({ paths, signal }: Pick<Stand, 'paths' | 'signal'>): Promise<RestateServer> {
  const program = restateProgram();
  if (program === undefined) throw new Error(`no Restate server for ${process.platform}-${process.arch} is installed`);
  const [node, admin, ingress] = [await freePort(), await freePort(), await freePort()];
  const child = await startCommand(paths, {
    name: 'bench-restate-server',
    command: program,
    args: ['--no-logo', '--base-dir', join(paths.home, 'restate')],
    env: {
      PATH: '/usr/bin:/bin',
      RESTATE_LISTEN_MODE: 'tcp',
      RESTATE_BIND_IP: LOOPBACK,
      RESTATE_BIND_PORT: String(node),
      RESTATE_ADMIN__BIND_PORT: String(admin),
      RESTATE_INGRESS__BIND_PORT: String(ingress),
      RESTATE_DISABLE_TELEMETRY: 'true',
    },
  });
  const stop = () =>
    child.stop([
      { signal: 'SIGTERM', waitMs: 10_000 },
      { signal: 'SIGKILL', waitMs: 5_000 },
    ]);
  const get = (port: number, path: string) =>
    fetch(`http://${LOOPBACK}:${port}${path}`, { signal: AbortSignal.any([signal, AbortSignal.timeout(CALL_MS)]) });
  try {
    await until("Restate's server", START_MS, signal, async () => {
      if (child.exit() !== undefined) throw new Error(`Restate's server has ended; see ${child.logFile}`);
      const healthy = await Promise.all([get(admin, '/health'), get(ingress, '/restate/health')]).catch(() => []);
      return healthy.length > 0 && healthy.every(({ ok }) => ok) ? true : undefined;
    });
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    admin: `http://${LOOPBACK}:${admin}`,
    ingress: `http://${LOOPBACK}:${ingress}`,
    async logged() {
      const bytes = Number(LOGGED.exec(await (await get(node, '/metrics')).text())?.[1]);
      if (!Number.isFinite(bytes)) throw new Error("Restate's server does not say how much it has logged.");
      return bytes;
    },
    stop,
  };
}
