import { Context } from '@temporalio/activity';
import { WorkflowNotFoundError } from '@temporalio/client';
import type { Kysely } from 'kysely';
import { type CloseRunDeps, closeRun } from '#activities/journal/close-run.ts';
import { workflowIdOf } from '#domain/ids.ts';
import type { MaintenanceActivities } from '#domain/ports/maintenance-activities.ts';
import type { CloseRunInput } from '#domain/ports/run-activities.ts';
import { startQueued } from '#platform/database/admission.ts';
import { chargeDead, lockRemainders } from '#platform/database/ledger.ts';
import { enqueue } from '#platform/database/outbox.ts';
import type { Database } from '#platform/database/tables.ts';
import { listTenants, withTenant } from '#platform/database/tenant.ts';
import type { Temporal } from '#platform/temporal/client.ts';
import { deliver } from '#platform/temporal/outbox.ts';

export interface MaintenanceDeps {
  readonly db: Kysely<Database>;
  readonly temporal: Temporal;
  readonly closing: CloseRunDeps;
  readonly log: { warn(fields: object, message: string): void };
}

/** Rows of one kind looked at per tenant and pass. */
const PAGE = 500;
/** A run is compared with Temporal once it is this old: a start under way is not a lost one. */
const SETTLED_MS = 15_000;
const CALL_MS = 5_000;

/** The background jobs. Each goes tenant by tenant, in bounded pages; what one pass leaves the next takes up. */
export function createMaintenance(deps: MaintenanceDeps): MaintenanceActivities {
  return {
    async reconcile() {
      const counts = { looked: 0, closed: 0, failed: 0 };
      await eachTenant(deps, async (tenant) => {
        for (const run of await openRuns(deps, tenant)) {
          counts.looked += 1;
          Context.current().heartbeat();
          try {
            const end = await endInTemporal(deps, tenant, run);
            if (!end) continue;
            await closeRun(deps.closing, end);
            counts.closed += 1;
          } catch (error) {
            counts.failed += 1;
            deps.log.warn({ tenant, run, err: String(error) }, 'could not reconcile a run');
          }
        }
      });
      return counts;
    },

    async sweep() {
      const counts = { charged: 0, restarted: 0, promoted: 0 };
      await eachTenant(deps, async (tenant) => {
        counts.charged += await chargeDeadAttempts(deps, tenant);
        const started = await neverStarted(deps, tenant);
        const promoted = await withTenant(deps.db, tenant, (trx) => startQueued(trx, tenant));
        counts.restarted += started.length;
        counts.promoted += promoted.length;
        await deliver(deps, tenant, [...started, ...promoted]);
      });
      return counts;
    },

    async deliverOutbox() {
      const counts = { delivered: 0, failed: 0 };
      await eachTenant(deps, async (tenant) => {
        const done = await deliver(deps, tenant, 'due', PAGE);
        counts.delivered += done.delivered;
        counts.failed += done.failed;
      });
      return counts;
    },
  };
}

async function eachTenant(deps: MaintenanceDeps, work: (tenant: string) => Promise<void>): Promise<void> {
  for (const tenant of await listTenants(deps.db)) {
    Context.current().heartbeat();
    await work(tenant);
  }
}

async function openRuns(deps: MaintenanceDeps, tenant: string): Promise<string[]> {
  const rows = await withTenant(deps.db, tenant, (trx) =>
    trx
      .selectFrom('agent_runs')
      .select('id')
      .where('closed_at', 'is', null)
      .where('workflow_started_at', '<', new Date(Date.now() - SETTLED_MS))
      .orderBy('created_at')
      .limit(PAGE)
      .execute(),
  );
  return rows.map((row) => row.id);
}

/** How a run's workflow ended, where it has and the run does not know; null while it is running. */
async function endInTemporal(deps: MaintenanceDeps, tenant: string, run: string): Promise<CloseRunInput | null> {
  const as = (end: Pick<CloseRunInput, 'status' | 'reason' | 'message'>): CloseRunInput => ({
    tenant,
    run,
    giveUp: true,
    ...end,
  });
  try {
    const { status } = await deps.temporal.within(new Date(Date.now() + CALL_MS), () =>
      deps.temporal.client.workflow.getHandle(workflowIdOf(run)).describe(),
    );
    switch (status.name) {
      case 'RUNNING':
      case 'PAUSED':
      case 'CONTINUED_AS_NEW':
      case 'UNSPECIFIED':
      case 'UNKNOWN':
        return null;
      case 'TERMINATED':
        return as({ status: 'terminated', reason: 'terminated' });
      case 'CANCELLED':
        return as({ status: 'cancelled', reason: 'cancelled' });
      case 'TIMED_OUT':
        return as({ status: 'failed', reason: 'timed_out' });
      case 'FAILED':
      case 'COMPLETED':
        return as({ status: 'failed', reason: 'internal', message: `its workflow ended as ${status.name}` });
    }
  } catch (error) {
    if (!(error instanceof WorkflowNotFoundError)) throw error;
    return as({ status: 'terminated', reason: 'terminated', message: 'was deleted in Temporal' });
  }
}

/** Charges model calls that never settled: their worker died, and nobody knows what they cost. */
async function chargeDeadAttempts(deps: MaintenanceDeps, tenant: string): Promise<number> {
  const dead = await withTenant(deps.db, tenant, (trx) =>
    trx
      .selectFrom('agent_run_costs')
      .select(['attempt_id', 'run_id'])
      .where('state', '=', 'reserved')
      .where('deadline_at', '<', new Date())
      .limit(PAGE)
      .execute(),
  );
  for (const attempt of dead) {
    await withTenant(deps.db, tenant, async (trx) => {
      await lockRemainders(trx, tenant, attempt.run_id, new Date());
      await chargeDead(trx, tenant, attempt.attempt_id);
    });
  }
  return dead.length;
}

/** Runs whose start was lost between their row and Temporal get it again. Only rows that were never started. */
async function neverStarted(deps: MaintenanceDeps, tenant: string): Promise<number[]> {
  return withTenant(deps.db, tenant, async (trx) => {
    const rows = await trx
      .selectFrom('agent_runs as r')
      .select('r.id')
      .where('r.status', '=', 'pending')
      .where('r.workflow_started_at', 'is', null)
      .where('r.created_at', '<', new Date(Date.now() - SETTLED_MS))
      .where((eb) =>
        eb.not(
          eb.exists(
            eb
              .selectFrom('outbox as o')
              .select('o.id')
              .whereRef('o.run_id', '=', 'r.id')
              .where('o.kind', '=', 'start')
              .where('o.delivered_at', 'is', null),
          ),
        ),
      )
      .limit(PAGE)
      .execute();
    const ids: number[] = [];
    for (const row of rows) ids.push(await enqueue(trx, tenant, { kind: 'start', runId: row.id }));
    return ids;
  });
}
