import type { Command } from 'commander';
import type { Globals } from './connection.ts';
import type { ExitCode } from './exit-codes.ts';
import { report } from './report.ts';
import type { Session } from './session.ts';
import { commandName } from './terminal.ts';

/** What a command does: gets its session, its options with the common ones, and its positional arguments. */
export type Handler<Options> = (
  session: Session,
  options: Options,
  args: readonly string[],
) => Promise<ExitCode | undefined>;

/**
 * Makes a commander action of a handler. Failures are reported and the exit code is set; the connections are closed
 * whatever happens.
 */
export function action<Options>(handler: Handler<Options>): (...all: unknown[]) => Promise<void> {
  return async (...all) => {
    const command = all.at(-1) as Command;
    const options = command.optsWithGlobals() as Options & Globals;
    let session: Session | null = null;
    try {
      // Loaded only where a service is called: help and faults of usage are quick.
      const { openSession } = await import('./session.ts');
      session = await openSession(options);
      process.exitCode = (await handler(session, options, command.args)) ?? 0;
    } catch (error) {
      process.exitCode = report(error, session, options.json === true, commandName());
    } finally {
      session?.close();
    }
  };
}
