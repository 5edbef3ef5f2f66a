import { sql, type Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { monthOfAccount, runAccount } from '#domain/ids.ts';
import { openMonths } from '#platform/database/accounts.ts';
import { admit } from '#platform/database/admission.ts';
import { audit, type NewEvent, record } from '#platform/database/journal.ts';
import { enqueue } from '#platform/database/outbox.ts';
import type { Database } from '#platform/database/tables.ts';
import { type TraceParent, writeTraceParent } from '#platform/telemetry/trace.ts';
import { prefixFromOf } from './continued.ts';
import type { Given } from './narrow.ts';
import type { Asked } from './request.ts';

/** A run about to be written. */
export interface NewRun {
  readonly id: string;
  readonly startedBy: string;
  readonly asked: Asked;
  readonly given: Given;
  readonly runGrant: string;
  /** The caller's place in its own trace, which the run then belongs to. */
  readonly traceParent?: TraceParent | undefined;
}

/** The accounts that a run of this user is reserved on this month, opened where new. Before everything that is locked. */
export async function ensureMonths(
  trx: Transaction<Database>,
  tenant: string,
  user: string,
): Promise<readonly string[]> {
  const { userMonth, tenantMonth } = await openMonths(trx, tenant, user, new Date());
  return [userMonth, tenantMonth];
}

/** Throws BUDGET_EXCEEDED where all of the budget of a month is spent or reserved: the user's, the tenant's, the product's. */
export async function assertMonthsLeft(trx: Transaction<Database>, accounts: readonly string[]): Promise<void> {
  const rows = await trx
    .selectFrom('ledger_accounts')
    .select(['id', 'limit_micro_usd', 'settled_micro_usd', 'reserved_micro_usd'])
    .where('id', 'in', accounts)
    .orderBy('id')
    .execute();
  for (const { id, limit_micro_usd: limit, settled_micro_usd: settled, reserved_micro_usd: reserved } of rows) {
    if (limit === null || settled + reserved < limit) continue;
    const [level, whose] = id.startsWith('user') ? ['user_month', "user's"] : ['tenant_month', "tenant's"];
    throw new StewardError(
      'BUDGET_EXCEEDED',
      `The ${whose} budget of this month (${limit} micro-USD, UTC) is spent or reserved. ` +
        'Start again next month, or have an administrator raise it.',
      { details: { level, limit } },
    );
  }
  const month = monthOfAccount(accounts[0] ?? '') ?? '';
  const { spent, most } = await trx
    .selectFrom('product_accounts')
    .select((eb) => [
      sql<number>`sum(settled_micro_usd + reserved_micro_usd)`.as('spent'),
      eb.selectFrom('product_months').select('limit_micro_usd').where('month', '=', month).as('most'),
    ])
    .where('month', '=', month)
    .executeTakeFirstOrThrow();
  if (most === null || Number(spent) < most) return;
  // How much that is, is not the tenant's to know.
  const details = { level: 'product_month' };
  throw new StewardError('BUDGET_EXCEEDED', 'This installation may spend no more this month. Ask its operators.', {
    details,
  });
}

/**
 * Admits or queues the run and writes everything of it, the caller holding the admission lock. Returns the outbox rows
 * to deliver.
 */
export async function insertRun(trx: Transaction<Database>, tenant: string, run: NewRun): Promise<number[]> {
  const { asked, given } = run;
  const { admission, outbox } = await admit(trx, tenant);
  const queued = admission.kind === 'queued';
  await trx
    .insertInto('agent_runs')
    .values({
      tenant,
      id: run.id,
      request_id: asked.requestId,
      request_digest: asked.digest,
      agent: given.agent,
      agent_hash: given.agentHash,
      acting_user: asked.actingUser,
      started_by: run.startedBy,
      input: asked.input,
      labels: JSON.stringify(asked.labels),
      tools: JSON.stringify(given.tools),
      resources: [...given.resources],
      typical_micro_usd: typicalOf(tenant, given.agent),
      limits: JSON.stringify(given.limits),
      waits: JSON.stringify(given.waits),
      anomaly_limits: JSON.stringify(given.anomalies),
      model: given.model,
      max_output_tokens: given.maxOutputTokens,
      context_tokens: given.contextTokens,
      run_grant: run.runGrant,
      earlier_runs: [...(given.continued?.runs ?? [])],
      earlier_steps: [...(given.continued?.steps ?? [])],
      handles_through: given.continued?.handlesThrough ?? 0,
      handles_at: given.continued?.handlesAt ?? 0,
      summarised_through: given.continued?.summarisedThrough ?? 0,
      prefix_from: given.continued === null ? 0 : prefixFromOf(given.continued, given),
      status: queued ? 'queued' : 'pending',
      stop_message: queued ? admission.reason : null,
      waits_until: queued ? admission.until : null,
      trace_parent: run.traceParent === undefined ? null : writeTraceParent(run.traceParent),
      admitted_at: queued ? null : sql<Date>`now()`,
    })
    .execute();
  await trx
    .insertInto('ledger_accounts')
    .values({ tenant, id: runAccount(run.id), limit_micro_usd: given.budgetMicroUsd })
    .execute();
  const data = {
    agent: given.agent,
    agentHash: given.agentHash,
    actingUser: asked.actingUser,
    startedBy: run.startedBy,
    ...(given.continued === null ? {} : { continues: given.continued.id }),
  };
  const events: NewEvent[] = [{ kind: 'run.created', data }];
  if (queued) {
    events.push({ kind: 'run.queued', data: { reason: admission.reason, until: admission.until.getTime() } });
  }
  await record(trx, tenant, run.id, {
    steps: [{ kind: 'user_message', turn: 0, content: { text: asked.input } }],
    events,
  });
  await audit(trx, tenant, { actor: run.startedBy, action: 'run.start', run: run.id, data });
  return queued ? [...outbox] : [...outbox, await enqueue(trx, tenant, { kind: 'start', runId: run.id })];
}

/** What is typical of an agent is the median of so many of its last completed runs, where there are at least so many. */
const TYPICAL_OF = 20;
const TYPICAL_FROM = 5;

function typicalOf(tenant: string, agent: string) {
  return sql<number | null>`(
    select case when count(*) >= ${TYPICAL_FROM} then percentile_disc(0.5) within group (order by a.settled_micro_usd) end
    from (select id from agent_runs where tenant = ${tenant} and agent = ${agent} and status = 'completed'
      order by closed_at desc limit ${TYPICAL_OF}) as last
    cross join lateral (select settled_micro_usd from ledger_accounts where id = 'run/' || last.id limit 1) as a)`;
}
