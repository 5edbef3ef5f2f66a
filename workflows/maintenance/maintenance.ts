import { proxyActivities } from '@temporalio/workflow';
import type { MaintenanceActivities, MaintenanceJob } from '#domain/ports/maintenance-activities.ts';

const { reconcile, sweep, deliverOutbox } = proxyActivities<MaintenanceActivities>({
  startToCloseTimeout: '5m',
  // A pass whose worker died keeps the next one waiting for so long: they do not overlap.
  heartbeatTimeout: '6s',
  retry: { initialInterval: '1s', maximumInterval: '10s', maximumAttempts: 3 },
});

/** One pass of one background job. Started by a Temporal Schedule; overlapping passes are skipped there. */
export async function maintenance(job: MaintenanceJob): Promise<Record<string, number>> {
  switch (job) {
    case 'reconcile':
      return reconcile();
    case 'sweep':
      return sweep();
    case 'outbox':
      return deliverOutbox();
  }
}
