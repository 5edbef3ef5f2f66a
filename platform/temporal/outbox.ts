import { WorkflowExecutionAlreadyStartedError, WorkflowNotFoundError } from '@temporalio/client';
import { TypedSearchAttributes } from '@temporalio/common';
import type { Kysely, Selectable } from 'kysely';
import { workflowIdOf } from '#domain/ids.ts';
import {
  DECIDE_APPROVAL,
  PAUSE_RUN,
  RAISE_BUDGET,
  RESUME_RUN,
  RUN_TASK_QUEUE,
  RUN_WORKFLOW,
  type RunInput,
} from '#domain/run-workflow.ts';
import { UNDO_WORKFLOW, type UndoInput, undoWorkflowIdOf } from '#domain/undo.ts';
import { type Claimed, claim, markDelivered, markFailed } from '#platform/database/outbox.ts';
import type { Database, OutboxKind, RunsTable } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import { type Temporal, textOfTemporal } from './client.ts';
import { SEARCH_ATTRIBUTES } from './search-attributes.ts';

export { enqueue, type Owed } from '#platform/database/outbox.ts';

export interface DeliverDeps {
  readonly db: Kysely<Database>;
  readonly temporal: Temporal;
  readonly log: { warn(fields: object, message: string): void };
}

export interface Delivered {
  readonly delivered: number;
  readonly failed: number;
}

/** One call to Temporal. */
const CALL_MS = 4_000;
/** Longer than a call and the transactions around it, so that a row is never two deliverers' at once. */
const HOLD_MS = 15_000;
const AT_ONCE = 10;
/**
 * A run whose worker died in the middle of a workflow task is another's after this; Temporal's default is 10 s. Tasks
 * take well under a second: the history of a run is short.
 */
const WORKFLOW_TASK = '5s';
const LONGEST_WAIT_MS = 30_000;

/**
 * Delivers what is owed to Temporal: the given rows, and older ones of the same runs that stand before them; or
 * everything due, at most `limit` rows. Call it after the commit that wrote the rows; what fails here is tried again by
 * the sweeper. Rows of one run are delivered in order; a row may reach Temporal twice, which every kind allows.
 * Throws UNAVAILABLE only where the database cannot be used.
 */
export async function deliver(
  deps: DeliverDeps,
  tenant: string,
  ids: readonly number[] | 'due',
  limit = 100,
): Promise<Delivered> {
  const total = { delivered: 0, failed: 0 };
  while (total.delivered + total.failed < limit) {
    const left = limit - total.delivered - total.failed;
    const deadline = new Date(Date.now() + CALL_MS);
    const rows = await claim(deps.db, tenant, { ids, limit: Math.min(AT_ONCE, left), holdMs: HOLD_MS });
    if (rows.length === 0) break;
    const done = await Promise.all(rows.map((row) => deliverOne(deps, tenant, row, deadline)));
    for (const ok of done) total[ok ? 'delivered' : 'failed'] += 1;
  }
  return total;
}

async function deliverOne(deps: DeliverDeps, tenant: string, row: Claimed, deadline: Date): Promise<boolean> {
  let note: string | null;
  try {
    note = await send(deps, tenant, row, deadline);
  } catch (error) {
    const text = textOfTemporal(error);
    const waitMs = Math.min(LONGEST_WAIT_MS, 500 * 2 ** Math.min(row.attempts, 10));
    deps.log.warn(
      { outbox: row.id, kind: row.kind, run: row.run_id, attempt: row.attempts, err: error },
      'not delivered',
    );
    await markFailed(deps.db, tenant, row, { error: text, waitMs });
    return false;
  }
  await markDelivered(deps.db, tenant, row, note);
  return true;
}

const SIGNALS: Partial<Record<OutboxKind, string>> = {
  decide_approval: DECIDE_APPROVAL,
  raise_budget: RAISE_BUDGET,
  pause: PAUSE_RUN,
  resume: RESUME_RUN,
};

/** Null where Temporal took it; a note where there is nothing to be told it any more. */
async function send(deps: DeliverDeps, tenant: string, row: Claimed, deadline: Date): Promise<string | null> {
  const run = await withTenant(deps.db, tenant, (trx) =>
    trx.selectFrom('agent_runs').selectAll().where('id', '=', row.run_id).executeTakeFirst(),
  );
  if (run === undefined) return 'There is no such run.';
  if (row.kind === 'start') return run.closed_at === null ? start(deps.temporal, run, deadline) : 'The run has closed.';
  if (row.kind === 'undo') return startUndo(deps.temporal, run, row.payload, deadline);
  const handle = deps.temporal.client.workflow.getHandle(workflowIdOf(row.run_id));
  const signal = SIGNALS[row.kind];
  try {
    await deps.temporal.within(deadline, async () => {
      await (signal === undefined ? handle.cancel() : handle.signal(signal, row.payload));
    });
    return null;
  } catch (error) {
    if (!(error instanceof WorkflowNotFoundError)) throw error;
    return 'The workflow has closed or is gone.';
  }
}

async function start(temporal: Temporal, run: Selectable<RunsTable>, deadline: Date): Promise<string | null> {
  const input: RunInput = {
    tenant: run.tenant,
    run: run.id,
    agent: run.agent,
    limits: run.limits,
    waits: run.waits,
  };
  const version = run.agent_hash.slice(0, 12);
  try {
    await temporal.within(deadline, () =>
      temporal.client.workflow.start(RUN_WORKFLOW, {
        workflowId: workflowIdOf(run.id),
        taskQueue: RUN_TASK_QUEUE,
        args: [input],
        workflowIdReusePolicy: 'REJECT_DUPLICATE',
        workflowIdConflictPolicy: 'FAIL',
        workflowTaskTimeout: WORKFLOW_TASK,
        typedSearchAttributes: new TypedSearchAttributes([
          { key: SEARCH_ATTRIBUTES.tenant, value: run.tenant },
          { key: SEARCH_ATTRIBUTES.agentName, value: run.agent },
          { key: SEARCH_ATTRIBUTES.agentVersion, value: version },
          { key: SEARCH_ATTRIBUTES.runStatus, value: 'running' },
          { key: SEARCH_ATTRIBUTES.initiator, value: run.started_by },
        ]),
        memo: { tenant: run.tenant, agent: run.agent, actingUser: run.acting_user },
        staticSummary: `${run.agent} for ${run.acting_user} of ${run.tenant}`.slice(0, 200),
        staticDetails: [
          `- agent: ${run.agent} (version ${version}, ${run.model})`,
          `- acts for: ${run.acting_user} of ${run.tenant}`,
          `- started by: ${run.started_by}`,
          `- request: ${run.request_id}`,
        ].join('\n'),
        priority: { fairnessKey: run.tenant },
      }),
    );
  } catch (error) {
    // It was started by an attempt whose answer was lost.
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
  }
  return null;
}

async function startUndo(
  temporal: Temporal,
  run: Selectable<RunsTable>,
  payload: Readonly<Record<string, unknown>>,
  deadline: Date,
): Promise<string | null> {
  const { undo, calls } = payload as unknown as Pick<UndoInput, 'undo' | 'calls'>;
  const input: UndoInput = { tenant: run.tenant, run: run.id, undo, calls };
  try {
    await temporal.within(deadline, () =>
      temporal.client.workflow.start(UNDO_WORKFLOW, {
        workflowId: undoWorkflowIdOf(undo),
        taskQueue: RUN_TASK_QUEUE,
        args: [input],
        workflowIdReusePolicy: 'REJECT_DUPLICATE',
        workflowIdConflictPolicy: 'FAIL',
        workflowTaskTimeout: WORKFLOW_TASK,
        typedSearchAttributes: new TypedSearchAttributes([
          { key: SEARCH_ATTRIBUTES.tenant, value: run.tenant },
          { key: SEARCH_ATTRIBUTES.agentName, value: run.agent },
        ]),
        memo: { tenant: run.tenant, run: run.id },
        staticSummary: `undo of ${calls.length} effects of run ${run.id}`,
        priority: { fairnessKey: run.tenant },
      }),
    );
  } catch (error) {
    // It was started by an attempt whose answer was lost.
    if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
  }
  return null;
}
