import { Context } from '@temporalio/activity';
import { WorkflowNotFoundError } from '@temporalio/client';
import { type Kysely, sql } from 'kysely';
import { type CloseRunDeps, closeRun, settleLate } from '#activities/journal/close-run.ts';
import { workflowIdOf } from '#domain/ids.ts';
import type { MaintenanceActivities } from '#domain/ports/maintenance-activities.ts';
import type { CloseRunInput } from '#domain/ports/run-activities.ts';
import { startQueued } from '#platform/database/admission.ts';
import { chargeDeadAttempt } from '#platform/database/budget.ts';
import { tellOfFreed, watchBudget } from '#platform/database/budget-watch.ts';
import { enqueue } from '#platform/database/outbox.ts';
import { PRODUCT, tellOfProduct, watchProduct } from '#platform/database/product-watch.ts';
import { closeOldQuantities } from '#platform/database/quantities.ts';
import type { Database } from '#platform/database/tables.ts';
import { listTenants, withTenant } from '#platform/database/tenant.ts';
import type { Temporal } from '#platform/temporal/client.ts';
import { deliver } from '#platform/temporal/outbox.ts';
import type { Tracer } from './tracer.ts';

export interface MaintenanceDeps {
  readonly db: Kysely<Database>;
  readonly temporal: Temporal;
  readonly closing: CloseRunDeps;
  readonly log: { warn(fields: object, message: string): void };
  readonly tracer?: Pick<Tracer, 'sweep'> | undefined;
}

/** Rows of one kind looked at per tenant at once. */
const PAGE = 500;
/** A run is compared with Temporal once it is this old: a start under way is not a lost one. */
const SETTLED_MS = 15_000;
const CALL_MS = 5_000;
const HEARTBEAT_MS = 2_000;
/** So long after its workflow has ended a run waits for catalogs that cannot say what became of its calls. */
const GIVE_UP_MS = 5 * 60_000;
/** Catalogs are asked by the run's grant, which lives for 60 days. */
const ASKED_DAYS = 59;
/** Of the passes, two a minute. */
const NOW_AND_THEN = 0.01;
const ASKED_AT_ONCE = 20;
/** A pass begins no further tenant or page after this; its schedule starts the next one. */
const PASS_MS = 3 * 60_000;
/** The same for asking what became of calls of closed runs. Both together end before the activity's own time does. */
const LATE_MS = 30_000;

/**
 * The background jobs. Each goes tenant by tenant, in bounded pages; what fails for one tenant or run is counted and
 * logged, keeps no other from its turn, and is tried again by the next pass.
 */
export function createMaintenance(deps: MaintenanceDeps): MaintenanceActivities {
  return {
    async reconcile() {
      const counts = { looked: 0, closed: 0, settled: 0, failed: 0 };
      await pass(deps, counts, PASS_MS, async (tenant, _, inTime) => {
        for (let after = ''; inTime(); ) {
          const page = await openRuns(deps, tenant, after);
          for (const { id, workflow_started_at: started } of page) {
            if (!inTime()) break;
            counts.looked += 1;
            await attempt(deps, counts, { tenant, run: id }, async () => {
              const end = await endInTemporal(deps, tenant, id, started ?? new Date());
              if (!end) return;
              await closeRun(deps.closing, end);
              counts.closed += 1;
            });
          }
          if (page.length < PAGE) break;
          after = page.at(-1)?.id ?? '';
        }
      });
      // After all runs: a catalog that is away takes as long as it is waited for.
      return pass(deps, counts, LATE_MS, async (tenant) => {
        const unknown = await unknownCalls(deps, tenant);
        await Promise.all(
          unknown.map((call) =>
            attempt(deps, counts, { tenant, ...call }, async () => {
              if (await settleLate(deps.closing, { tenant, run: call.run_id }, call.call_id)) counts.settled += 1;
            }),
          ),
        );
      });
    },

    async sweep() {
      const swept = await pass(
        deps,
        { charged: 0, restarted: 0, promoted: 0, failed: 0 },
        PASS_MS,
        async (tenant, counts) => {
          for (const dead of await deadAttempts(deps, tenant)) {
            await attempt(deps, counts, { tenant, run: dead.run_id }, async () => {
              const ref = { tenant, run: dead.run_id };
              const charge = { id: dead.attempt_id, turn: dead.turn };
              const cost = await withTenant(deps.db, tenant, (trx) => chargeDeadAttempt(trx, ref, charge, new Date()));
              if (cost > 0) counts.charged += 1;
            });
          }
          const started = await neverStarted(deps, tenant);
          const promoted = await withTenant(deps.db, tenant, (trx) => startQueued(trx, tenant));
          counts.restarted += started.length;
          counts.promoted += promoted.length;
          await deliver(deps, tenant, [...started, ...promoted]);
          await watchTenant(deps, tenant);
          await deps.tracer?.sweep(tenant);
        },
      );
      await watchProductNow(deps);
      return swept;
    },

    deliverOutbox: () =>
      pass(deps, { delivered: 0, failed: 0 }, PASS_MS, async (tenant, counts) => {
        const done = await deliver(deps, tenant, 'due', PAGE);
        counts.delivered += done.delivered;
        counts.failed += done.failed;
      }),
  };
}

/** What the budget tree is watched for behind the runs' backs, told to the log. */
async function watchTenant(deps: MaintenanceDeps, tenant: string): Promise<void> {
  const { told, outbox } = await withTenant(deps.db, tenant, async (trx) => {
    await closeOldQuantities(trx, tenant);
    return {
      told: await watchBudget(trx, tenant),
      outbox: [...(await tellOfProduct(trx, tenant)), ...(await tellOfFreed(trx, tenant, new Date()))],
    };
  });
  for (const alarm of told) deps.log.warn({ tenant, alarm }, 'budget alarm');
  await deliver(deps, tenant, outbox);
}

/** The product belongs to no tenant; what fails here is tried again by the next pass. */
async function watchProductNow(deps: MaintenanceDeps): Promise<void> {
  try {
    const told = await withTenant(deps.db, PRODUCT, (trx) => watchProduct(trx, new Date()));
    for (const alarm of told) deps.log.warn({ alarm }, 'budget alarm of the product');
  } catch (err) {
    deps.log.warn({ err }, 'left to the next pass');
  }
}

/** Runs `work` for every tenant while there is time, with heartbeats on a timer. Returns its counts. */
async function pass<Counts extends Record<string, number> & { failed: number }>(
  deps: MaintenanceDeps,
  counts: Counts,
  ms: number,
  work: (tenant: string, counts: Counts, inTime: () => boolean) => Promise<void>,
): Promise<Counts> {
  const context = Context.current();
  const end = Date.now() + ms;
  const inTime = (): boolean => Date.now() < end && !context.cancellationSignal.aborted;
  context.heartbeat();
  const timer = setInterval(() => context.heartbeat(), HEARTBEAT_MS);
  try {
    for (const tenant of shuffled(await listTenants(deps.db))) {
      if (!inTime()) break;
      await attempt(deps, counts, { tenant }, () => work(tenant, counts, inTime));
    }
    return counts;
  } finally {
    clearInterval(timer);
  }
}

async function attempt(
  deps: MaintenanceDeps,
  counts: { failed: number },
  what: object,
  work: () => Promise<void>,
): Promise<void> {
  try {
    await work();
  } catch (error) {
    counts.failed += 1;
    deps.log.warn({ ...what, err: error }, 'left to the next pass');
  }
}

/** So that a pass that runs out of time does not leave out the same tenants every time. */
function shuffled(tenants: readonly string[]): string[] {
  const from = Math.floor(Math.random() * tenants.length);
  return [...tenants.slice(from), ...tenants.slice(0, from)];
}

/** Runs that Temporal should know, by id from behind `after` on. */
function openRuns(deps: MaintenanceDeps, tenant: string, after: string) {
  return withTenant(deps.db, tenant, (trx) =>
    trx
      .selectFrom('agent_runs')
      .select(['id', 'workflow_started_at'])
      .where('closed_at', 'is', null)
      .where('workflow_started_at', '<', new Date(Date.now() - SETTLED_MS))
      .where('id', '>', after)
      .orderBy('id')
      .limit(PAGE)
      .execute(),
  );
}

/** How a run's workflow ended, where it has and the run does not know; null while it is running. */
async function endInTemporal(
  deps: MaintenanceDeps,
  tenant: string,
  run: string,
  started: Date,
): Promise<CloseRunInput | null> {
  let since = started;
  const as = (end: Pick<CloseRunInput, 'status' | 'reason' | 'message'>): CloseRunInput => ({
    tenant,
    run,
    giveUp: Date.now() - since.getTime() > GIVE_UP_MS,
    ...end,
  });
  try {
    const { status, closeTime } = await deps.temporal.within(new Date(Date.now() + CALL_MS), () =>
      deps.temporal.client.workflow.getHandle(workflowIdOf(run)).describe(),
    );
    if (closeTime) since = closeTime;
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

/** Model calls that never settled: their worker died, and nobody knows what they cost. */
function deadAttempts(deps: MaintenanceDeps, tenant: string) {
  return withTenant(deps.db, tenant, (trx) =>
    trx
      .selectFrom('agent_run_costs')
      .select(['attempt_id', 'run_id', 'turn'])
      .where('state', '=', 'reserved')
      .where('deadline_at', '<', new Date())
      .orderBy('deadline_at')
      .limit(PAGE)
      .execute(),
  );
}

/** Calls of closed runs of which it is not known whether they took place: for an hour each time, then now and then. */
function unknownCalls(deps: MaintenanceDeps, tenant: string) {
  return withTenant(deps.db, tenant, (trx) =>
    trx
      .selectFrom('agent_run_tool_invocations as i')
      .innerJoin('agent_runs as r', 'r.id', 'i.run_id')
      .select(['i.run_id', 'i.call_id'])
      // One that was let begin while its run was being closed is left as started.
      .where('i.state', 'in', ['started', 'outcome_unknown'])
      .where('r.closed_at', 'is not', null)
      .where(sql<boolean>`r.closed_at > now() - interval '1 hour'
        or (r.closed_at > now() - ${ASKED_DAYS} * interval '1 day' and random() < ${NOW_AND_THEN})`)
      .orderBy(sql`random()`)
      .limit(ASKED_AT_ONCE)
      .execute(),
  );
}

/** Runs whose start was lost between their row and Temporal get it again. Only rows that were never started. */
async function neverStarted(deps: MaintenanceDeps, tenant: string): Promise<number[]> {
  return withTenant(deps.db, tenant, async (trx) => {
    const rows = await trx
      .selectFrom('agent_runs as r')
      .select('r.id')
      .where('r.status', '=', 'pending')
      // True of every pending run; it lets the index of the open ones be used, however many have closed.
      .where('r.closed_at', 'is', null)
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
