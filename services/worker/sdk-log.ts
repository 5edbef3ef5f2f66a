import type { LogLevel, LogMetadata, Logger as SdkLogger } from '@temporalio/worker';
import type { Logger } from 'pino';

/** What the SDK says from WARN on, as lines of our log; the rest is its own business. */
export function sdkLog(log: Logger): SdkLogger {
  const write = (level: LogLevel, message: string, meta: LogMetadata = {}): void => {
    if (level === 'WARN') log.warn(factsOf(meta), message);
    if (level === 'ERROR') log.error(factsOf(meta), message);
  };
  return {
    log: write,
    trace: () => undefined,
    debug: () => undefined,
    info: () => undefined,
    warn: (message, meta) => write('WARN', message, meta),
    error: (message, meta) => write('ERROR', message, meta),
  };
}

/** Names and numbers that tell which task it was about; never inputs or results. */
function factsOf(meta: LogMetadata): Record<string, unknown> {
  const { workflowId, workflowType, activityType, attempt, taskQueue, error } = meta as Record<string, unknown>;
  // Workflow code has no other way to say which run a line is about.
  const run = /^run\/(.+)$/.exec(String(workflowId))?.[1];
  return { run, workflowId, workflowType, activityType, attempt, taskQueue, err: error };
}
