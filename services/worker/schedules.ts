import { type Client, ScheduleAlreadyRunning, ScheduleOverlapPolicy } from '@temporalio/client';
import type { MaintenanceJob } from '#domain/ports/maintenance-activities.ts';
import { MAINTENANCE_TASK_QUEUE, MAINTENANCE_WORKFLOW } from '#domain/run-workflow.ts';

/** How often each background job runs, in milliseconds. */
export const EVERY_MS: Readonly<Record<MaintenanceJob, number>> = { reconcile: 30_000, sweep: 30_000, outbox: 5_000 };

/** Puts the background jobs' schedules into Temporal as this release wants them. Safe for many starters. */
export async function ensureSchedules(client: Client): Promise<void> {
  for (const [job, every] of Object.entries(EVERY_MS)) {
    const spec = { intervals: [{ every }] };
    const action = {
      type: 'startWorkflow' as const,
      workflowType: MAINTENANCE_WORKFLOW,
      workflowId: `maintenance/${job}`,
      taskQueue: MAINTENANCE_TASK_QUEUE,
      args: [job],
      workflowExecutionTimeout: '10m' as const,
      workflowTaskTimeout: '5s' as const,
    };
    const policies = { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: '1m' as const };
    try {
      await client.schedule.create({ scheduleId: `steward/${job}`, spec, action, policies });
    } catch (error) {
      if (!(error instanceof ScheduleAlreadyRunning)) throw error;
      await client.schedule.getHandle(`steward/${job}`).update((known) => ({ ...known, spec, action, policies }));
    }
  }
}
