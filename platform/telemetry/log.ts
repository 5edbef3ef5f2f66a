import pino, { type Logger } from 'pino';
import { currentIds } from './ids.ts';
import { guardLine, secretsOf, tellable } from './redact.ts';
import { traceIdOf } from './trace.ts';

let own: Logger | undefined;

/**
 * The log of a process: JSON lines of at most 8,000 characters on stderr, with time, level, service, msg and the ids of
 * the work under way. Only fields that `redact.ts` names are written; what looks like a secret is taken out everywhere.
 * Stdout belongs to the one line that says a service serves.
 */
export function createLog(service: string, level: string): Logger {
  const secrets = secretsOf(process.env);
  own = pino(
    {
      level,
      base: { service },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }), log: tellable },
      // Pino's own would put the messages of causes into one.
      serializers: { err: (told: unknown) => told },
      mixin: idsOfLine,
      hooks: { streamWrite: (line) => guardLine(line, secrets) },
    },
    pino.destination({ fd: 2, sync: true }),
  );
  return own;
}

/** What a line says itself wins over the work it is written under, also over its trace where it is about another run. */
function idsOfLine(fields: object): object {
  const ids = currentIds();
  const { run = ids.run } = fields as { run?: unknown };
  if (typeof run !== 'string' || (run === ids.run && ids.trace !== undefined)) return { ...ids };
  return { ...ids, trace: traceIdOf(run) };
}

/** The log made last in this process, or one made now under the name given. */
export function processLog(fallback: string): Logger {
  return own ?? createLog(fallback, 'info');
}
