import { ActivityCancellationType, type ActivityOptions, proxyActivities } from '@temporalio/workflow';
import type { RunActivities } from '#domain/ports/run-activities.ts';

/**
 * Heartbeats come every second; a killed worker's activity is given to another one after
 * `heartbeatTimeout`. Cancelling waits until the activity has settled what it had in flight.
 */
const common: ActivityOptions = {
  heartbeatTimeout: '5s',
  cancellationType: ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
};

/**
 * Attempts that a dead worker, guard or catalog has cost come again soon: the waits grow slowly and stay short, so that
 * a run which was hit several times does not sit idle once all is back. What needs longer waits says so itself.
 */
const again = { backoffCoefficient: 1.5, maximumInterval: '5s' } as const;

/** A model answers within 10 minutes or is given up; which failures are repeated is the activity's to say. */
const thinking: ActivityOptions = {
  ...common,
  startToCloseTimeout: '12m',
  scheduleToCloseTimeout: '24h',
  retry: { initialInterval: '500ms', ...again },
};

/** A tool answers within 60 s; a call whose outcome cannot be learned is asked about again for up to 7 days. */
const acting: ActivityOptions = {
  ...common,
  startToCloseTimeout: '5m',
  scheduleToCloseTimeout: '7d',
  retry: { initialInterval: '300ms', ...again },
};

const closing: ActivityOptions = {
  ...common,
  startToCloseTimeout: '2m',
  retry: { initialInterval: '500ms', ...again },
};

export const { think } = proxyActivities<RunActivities>(thinking);
export const { act, confirmDecision } = proxyActivities<RunActivities>(acting);
export const { closeRun } = proxyActivities<RunActivities>(closing);

/** One line beside the activity in Temporal's Web UI. */
export function withSummary(kind: 'think' | 'act', summary: string): ActivityOptions {
  return { ...(kind === 'think' ? thinking : acting), summary: summary.slice(0, 200) };
}

/** Asking what is left in flight, for at most ten minutes, before the run closes without knowing. */
export const BOUNDED_CLOSING: ActivityOptions = { ...closing, scheduleToCloseTimeout: '10m' };
