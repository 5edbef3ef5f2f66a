import type { MessageInitShape } from '@bufbuild/protobuf';
import { sql, type Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { runAccount } from '#domain/ids.ts';
import type { RaiseBudgetRequest, RaiseBudgetResponseSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import { lockRemainders } from '#platform/database/accounts.ts';
import { audit, record } from '#platform/database/journal.ts';
import { enqueue } from '#platform/database/outbox.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { assertOpen, lockRun, owedOf, readRun } from '../run-rows.ts';
import { toRun } from '../views/run.ts';

const MOST = 1_000_000_000n;
/** A run's budget, raises included. */
const MOST_IN_ALL = 1_000_000_000_000;

interface Raise {
  readonly id: string;
  readonly add: number;
  readonly reason: string;
  readonly by: string;
}

/** Adds to a run's budget, once per request id. The amount stands in the ledger; the run is only told to look. */
export async function raiseBudget(
  ctx: CallContext,
  deps: RunApiDeps,
  request: RaiseBudgetRequest,
): Promise<MessageInitShape<typeof RaiseBudgetResponseSchema>> {
  const { tenant, subject } = ctx.principal;
  const checks = new Checks();
  checks.runId(request.runId);
  checks.line('request_id', request.requestId, { min: 1, max: 100 });
  checks.text('reason', request.reason, { max: 500 });
  const inRange = request.addMicroUsd >= 1n && request.addMicroUsd <= MOST;
  checks.that(inRange, 'add_micro_usd', `must be 1 to ${MOST}`);
  checks.done();
  const raise = { id: request.requestId, add: Number(request.addMicroUsd), reason: request.reason, by: subject };
  const done = await withTenant(deps.db, tenant, async (trx) => {
    const { id } = await readRun(trx, ctx.principal, request.runId);
    // Accounts before the run row, as everywhere.
    const { user, month } = await lockRemainders(trx, tenant, id, new Date());
    const run = await lockRun(trx, ctx.principal, id);
    if (await wasMade(trx, id, raise))
      return { outbox: await owedOf(trx, id), run: await readRun(trx, ctx.principal, id) };
    assertOpen(run);
    for (const { level, micro } of [user, month]) {
      if (raise.add <= micro) continue;
      const whose = level === 'user_month' ? "user's" : "tenant's";
      throw new StewardError(
        'BUDGET_EXCEEDED',
        `The ${whose} month has ${Math.max(0, micro)} micro-USD left, which is less than ${raise.add}. ` +
          `Add less, or have an administrator raise the ${whose} month.`,
        { details: { level, left: micro } },
      );
    }
    const limit = await enter(trx, tenant, id, raise);
    if (run.status === 'budget_exceeded') {
      await trx
        .updateTable('agent_runs')
        .set({ status: run.paused_by === null ? 'running' : 'paused', waits_until: null })
        .where('id', '=', id)
        .execute();
    }
    await audit(trx, tenant, { actor: subject, action: 'run.raise_budget', run: id, data: { ...raise, limit } });
    const data = { by: subject, add: raise.add, limit, reason: raise.reason };
    await record(trx, tenant, id, { events: [{ kind: 'budget.raised', data }] });
    const outbox = [await enqueue(trx, tenant, { kind: 'raise_budget', runId: id, payload: { raiseId: raise.id } })];
    return { outbox, run: await readRun(trx, ctx.principal, id) };
  });
  deps.notifier.wake(request.runId);
  await deps.deliveries.send(tenant, done.outbox);
  return { run: toRun(done.run, deps.temporalUi) };
}

/** Whether this raise has been made before. Throws REQUEST_ID_REUSED where another one was made under its id. */
async function wasMade(trx: Transaction<Database>, run: string, raise: Raise): Promise<boolean> {
  const made = await trx
    .selectFrom('ledger_entries')
    .select(['amount_micro_usd', 'by_subject', 'reason'])
    .where('account', '=', runAccount(run))
    .where('raise_id', '=', raise.id)
    .executeTakeFirst();
  if (made === undefined) return false;
  if (made.amount_micro_usd === raise.add && made.by_subject === raise.by && made.reason === raise.reason) return true;
  throw new StewardError(
    'REQUEST_ID_REUSED',
    `Request id ${raise.id} has raised this run's budget before, by ${made.amount_micro_usd}. Take a new id for a new raise.`,
  );
}

/** Raises the limit and returns it. */
async function enter(trx: Transaction<Database>, tenant: string, run: string, raise: Raise): Promise<number> {
  const row = await trx
    .updateTable('ledger_accounts')
    .set({ limit_micro_usd: sql`limit_micro_usd + ${raise.add}` })
    .where('id', '=', runAccount(run))
    .returning('limit_micro_usd')
    .executeTakeFirstOrThrow();
  const limit = row.limit_micro_usd ?? 0;
  if (limit > MOST_IN_ALL) {
    throw new StewardError('LIMIT_REACHED', `A run's budget is at most ${MOST_IN_ALL} micro-USD, raises included.`);
  }
  await trx
    .insertInto('ledger_entries')
    .values({
      tenant,
      account: runAccount(run),
      kind: 'raise',
      amount_micro_usd: raise.add,
      run_id: run,
      raise_id: raise.id,
      by_subject: raise.by,
      reason: raise.reason,
    })
    .execute();
  return limit;
}
