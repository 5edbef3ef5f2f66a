import pino, { type Logger } from 'pino';
import { isStewardError } from '#domain/errors.ts';

/** Logs JSON lines on stderr; stdout belongs to the one line that says a service serves. */
export function createLog(name: string, level: string): Logger {
  return pino({ name, level, base: { name } }, pino.destination({ fd: 2, sync: true }));
}

/** Prints the line the launcher waits for. */
export function announceReady(ready: { readonly address: string }): void {
  process.stdout.write(`STEWARD_READY ${JSON.stringify(ready)}\n`);
}

/**
 * Runs a service's main and, at the first SIGTERM or SIGINT, the stop it returned; the process then ends with 0. A main
 * that fails prints its message on stderr and ends with 1.
 */
export async function runService(main: () => Promise<() => Promise<void>>): Promise<void> {
  // From the start on: the signal may come right behind the line that says the service serves.
  const told = new Promise<null>((done) => {
    for (const signal of ['SIGTERM', 'SIGINT']) process.once(signal, () => done(null));
  });
  try {
    const stop = await Promise.race([main(), told]);
    if (stop !== null) {
      await told;
      await stop();
    }
    process.exit(0);
  } catch (error) {
    fail(error);
  }
}

/** Runs a task that ends by itself; one that fails prints its message on stderr and ends the process with 1. */
export async function runTask(task: () => Promise<void>): Promise<void> {
  try {
    await task();
  } catch (error) {
    fail(error);
  }
}

function fail(error: unknown): never {
  const message = isStewardError(error) ? error.message : error instanceof Error ? error.stack : String(error);
  process.stderr.write(`${message}\n`);
  process.exit(1);
}
