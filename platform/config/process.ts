import { basename, dirname } from 'node:path';
import { processLog } from '#platform/telemetry/log.ts';
import { startTracing, stopTracing } from '#platform/telemetry/tracing.ts';

/** Prints the line the launcher waits for. */
export function announceReady(ready: { readonly address: string }): void {
  process.stdout.write(`STEWARD_READY ${JSON.stringify(ready)}\n`);
  log().info({ address: ready.address, pid: process.pid }, 'serving');
}

/**
 * Runs a service's main and, at the first SIGTERM or SIGINT, the stop it returned; the process then ends with 0. A main
 * that fails, and an error nobody caught, is a line of the log and ends the process with 1.
 */
export async function runService(main: () => Promise<() => Promise<void>>): Promise<void> {
  // From the start on: the signal may come right behind the line that says the service serves.
  const told = new Promise<NodeJS.Signals>((done) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => done(signal));
  });
  logInsteadOfNode();
  try {
    await startTracing(entryName(), { warn: (fields: object, message: string) => log().warn(fields, message) });
    const stop = await Promise.race([main(), told]);
    if (typeof stop === 'function') {
      const signal = await told;
      log().info({ signal }, 'stopping');
      await stop();
      await stopTracing();
      log().info({ signal }, 'stopped');
    }
    process.exit(0);
  } catch (error) {
    fail(error, 'could not go on');
  }
}

/** Runs a task that ends by itself; one that fails says why on stderr and ends the process with 1. */
export async function runTask(task: () => Promise<void>): Promise<void> {
  logInsteadOfNode();
  try {
    await task();
  } catch (error) {
    fail(error, 'could not go on');
  }
}

/** Node's own words on stderr would be no JSON. */
function logInsteadOfNode(): void {
  process.on('uncaughtException', (error) => fail(error, 'an error nobody caught'));
  process.removeAllListeners('warning');
  process.on('warning', (warning) => log().warn({ err: warning }, 'a warning of Node'));
}

/** Before a service has its own log, it is named by the folder of its entry. */
function log(): ReturnType<typeof processLog> {
  return processLog(entryName());
}

function entryName(): string {
  return basename(dirname(process.argv[1] ?? ''));
}

function fail(error: unknown, message: string): never {
  const last = log();
  // Whoever wants silence still has to hear why there is nothing to be silent.
  if (last.level === 'silent') last.level = 'fatal';
  last.fatal({ err: error }, message);
  process.exit(1);
}
