import { ApplicationFailure, CancelledFailure, type Info } from '@temporalio/activity';
import { MockActivityEnvironment } from '@temporalio/testing';

const silent = (): void => undefined;
const SILENT = { log: silent, trace: silent, debug: silent, info: silent, warn: silent, error: silent };

/** What an activity runs in, for one call of it. Says nothing. */
export function activityEnvironment(info: Partial<Info> = {}): MockActivityEnvironment {
  return new MockActivityEnvironment(info, { logger: SILENT });
}

/** How an activity ended: its result, `cancelled`, or `retries` or `fails` with the error's code. */
export async function endOf<T>(activity: Promise<T>): Promise<T | string> {
  try {
    return await activity;
  } catch (error) {
    if (error instanceof ApplicationFailure) return `${error.nonRetryable ? 'fails' : 'retries'} ${error.type}`;
    return error instanceof CancelledFailure ? 'cancelled' : String(error);
  }
}
