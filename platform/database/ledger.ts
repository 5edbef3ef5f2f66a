import { sql, type Transaction } from 'kysely';
import type { Usage } from '#domain/conversation.ts';
import { StewardError } from '#domain/errors.ts';
import { runAccount, tenantMonthAccount } from '#domain/ids.ts';
import type { Database } from './tables.ts';

/**
 * The ledger: reserve before a model call, settle after it, on every level of the budget tree in one transaction.
 * Accounts are locked run first, then tenant, and before the run row. All amounts are micro-USD.
 */

export interface Remainder {
  readonly level: 'run' | 'tenant_month';
  readonly account: string;
  readonly micro: number;
}

/** Locks the accounts of a run and says what each still affords. The month's account is opened if it is new. */
export async function lockRemainders(
  trx: Transaction<Database>,
  tenant: string,
  run: string,
  now: Date,
): Promise<readonly [Remainder, Remainder]> {
  const own = runAccount(run);
  const month = tenantMonthAccount(now.getTime());
  const left = await lock(trx, [own, month]);
  const micro = left.get(own);
  if (micro === undefined) throw new StewardError('INTERNAL', `Run ${run} has no ledger account.`);
  return [
    { level: 'run', account: own, micro },
    {
      level: 'tenant_month',
      account: month,
      micro: left.get(month) ?? (await openMonth(trx, tenant, month)).remainder,
    },
  ];
}

/** Locks accounts, one after the other by their ids, and says what is left on each that there is. */
async function lock(trx: Transaction<Database>, accounts: readonly string[]): Promise<ReadonlyMap<string, number>> {
  const rows = await trx
    .selectFrom('ledger_accounts')
    .select(['id', sql<number>`limit_micro_usd - settled_micro_usd - reserved_micro_usd`.as('remainder')])
    .where('id', 'in', accounts)
    // `run/…` comes before `tenant-month/…` in every collation.
    .orderBy('id')
    .forUpdate()
    .execute();
  return new Map(rows.map((row) => [row.id, row.remainder]));
}

/** Opens the account of a new month with the tenant's limit, and locks it. */
export async function openMonth(
  trx: Transaction<Database>,
  tenant: string,
  account: string,
): Promise<{ readonly remainder: number }> {
  const { month_budget_micro_usd: limit } = await trx
    .selectFrom('tenants')
    .select('month_budget_micro_usd')
    .where('id', '=', tenant)
    .executeTakeFirstOrThrow();
  await trx
    .insertInto('ledger_accounts')
    .values({ tenant, id: account, limit_micro_usd: limit })
    .onConflict((conflict) => conflict.doNothing())
    .execute();
  const remainder = (await lock(trx, [account])).get(account);
  if (remainder === undefined) throw new StewardError('INTERNAL', `Ledger account ${account} could not be opened.`);
  return { remainder };
}

export interface NewAttempt {
  readonly id: string;
  readonly turn: number;
  readonly model: string;
  readonly reserve: number;
  /** When it is priced: what it costs in the end is priced at the same moment. */
  readonly at: Date;
  readonly deadlineAt: Date;
}

/**
 * Reserves for one attempt on accounts that `lockRemainders` has locked and found sufficient. Refuses to go past a
 * limit even if the caller did not look.
 */
export async function reserve(
  trx: Transaction<Database>,
  tenant: string,
  run: string,
  month: string,
  attempt: NewAttempt,
): Promise<void> {
  const { numUpdatedRows } = await trx
    .updateTable('ledger_accounts')
    .set({ reserved_micro_usd: sql`reserved_micro_usd + ${attempt.reserve}` })
    .where('id', 'in', [runAccount(run), month])
    .where(sql<boolean>`settled_micro_usd + reserved_micro_usd + ${attempt.reserve} <= limit_micro_usd`)
    .executeTakeFirstOrThrow();
  if (numUpdatedRows !== 2n) {
    throw new StewardError('BUDGET_EXCEEDED', `Account ${runAccount(run)} or ${month} does not afford this call.`);
  }
  await trx
    .insertInto('agent_run_costs')
    .values({
      tenant,
      run_id: run,
      attempt_id: attempt.id,
      turn: attempt.turn,
      model: attempt.model,
      state: 'reserved',
      month_account: month,
      reserved_micro_usd: attempt.reserve,
      created_at: attempt.at,
      deadline_at: attempt.deadlineAt,
    })
    .execute();
}

export interface Settlement {
  readonly costMicroUsd: number;
  /** True where more was billed than reserved. */
  readonly overage: boolean;
  /** True where this call settled it; false where it had been settled before. */
  readonly first: boolean;
}

/** An attempt as it was reserved for. */
export interface ReservedAttempt {
  readonly turn: number;
  readonly model: string;
  readonly reserved: number;
  readonly createdAt: Date;
}

/** Throws INTERNAL where the run has no such attempt. */
export async function attemptOf(trx: Transaction<Database>, run: string, attemptId: string): Promise<ReservedAttempt> {
  const row = await trx
    .selectFrom('agent_run_costs')
    .select(['turn', 'model', 'reserved_micro_usd', 'created_at'])
    .where('attempt_id', '=', attemptId)
    .where('run_id', '=', run)
    .executeTakeFirst();
  if (!row) throw neverReserved(attemptId);
  return { turn: row.turn, model: row.model, reserved: row.reserved_micro_usd, createdAt: row.created_at };
}

function neverReserved(attemptId: string): StewardError {
  return new StewardError('INTERNAL', `Attempt ${attemptId} was never reserved for.`);
}

/**
 * Settles an attempt at what it cost, once. A settled attempt keeps its first settlement; one that the sweeper has
 * charged at its reservation is corrected to what it really cost.
 */
export async function settle(
  trx: Transaction<Database>,
  tenant: string,
  attemptId: string,
  actual: {
    readonly cost: number;
    readonly usage: Usage | null;
    readonly answeredBy?: string;
    readonly requestId?: string | null;
  },
): Promise<Settlement> {
  const attempt = await lockAttempt(trx, attemptId);
  if (attempt.state === 'settled' || attempt.state === 'released') {
    const settled = attempt.settled ?? 0;
    return { costMicroUsd: settled, overage: settled > attempt.reserved, first: false };
  }
  const charged = attempt.state === 'charged' ? (attempt.settled ?? 0) : 0;
  await move(trx, attempt, {
    reserved: attempt.state === 'reserved' ? -attempt.reserved : 0,
    settled: actual.cost - charged,
  });
  await trx
    .updateTable('agent_run_costs')
    .set({
      state: actual.usage === null && actual.cost === 0 ? 'released' : 'settled',
      settled_micro_usd: actual.cost,
      usage: actual.usage === null ? null : JSON.stringify(actual.usage),
      answered_by: actual.answeredBy ?? null,
      provider_request_id: actual.requestId ?? null,
      ended_at: new Date(),
    })
    .where('attempt_id', '=', attemptId)
    .execute();
  const overage = actual.cost > attempt.reserved;
  if (overage) await enter(trx, tenant, attempt, 'overage', actual.cost - attempt.reserved);
  return { costMicroUsd: actual.cost, overage, first: true };
}

/** Settles a dead attempt at its whole reservation: nobody knows what it cost, and it cannot have cost more. */
export async function chargeDead(trx: Transaction<Database>, tenant: string, attemptId: string): Promise<number> {
  const attempt = await lockAttempt(trx, attemptId);
  if (attempt.state !== 'reserved') return 0;
  await move(trx, attempt, { reserved: -attempt.reserved, settled: attempt.reserved });
  await trx
    .updateTable('agent_run_costs')
    .set({ state: 'charged', settled_micro_usd: attempt.reserved, ended_at: new Date() })
    .where('attempt_id', '=', attemptId)
    .execute();
  await enter(trx, tenant, attempt, 'charge', attempt.reserved);
  return attempt.reserved;
}

interface Attempt {
  readonly id: string;
  readonly run: string;
  readonly month: string;
  readonly state: string;
  readonly reserved: number;
  readonly settled: number | null;
}

async function lockAttempt(trx: Transaction<Database>, attemptId: string): Promise<Attempt> {
  const row = await trx
    .selectFrom('agent_run_costs')
    .select(['run_id', 'month_account', 'state', 'reserved_micro_usd', 'settled_micro_usd'])
    .where('attempt_id', '=', attemptId)
    .forUpdate()
    .executeTakeFirst();
  if (!row) throw neverReserved(attemptId);
  return {
    id: attemptId,
    run: row.run_id,
    month: row.month_account,
    state: row.state,
    reserved: row.reserved_micro_usd,
    settled: row.settled_micro_usd,
  };
}

async function move(
  trx: Transaction<Database>,
  attempt: Attempt,
  by: { readonly reserved: number; readonly settled: number },
): Promise<void> {
  await trx
    .updateTable('ledger_accounts')
    .set({
      reserved_micro_usd: sql`reserved_micro_usd + ${by.reserved}`,
      settled_micro_usd: sql`settled_micro_usd + ${by.settled}`,
    })
    .where('id', 'in', [runAccount(attempt.run), attempt.month])
    .execute();
}

async function enter(
  trx: Transaction<Database>,
  tenant: string,
  attempt: Attempt,
  kind: 'charge' | 'overage',
  amount: number,
): Promise<void> {
  await trx
    .insertInto('ledger_entries')
    .values(
      [runAccount(attempt.run), attempt.month].map((account) => ({
        tenant,
        account,
        kind,
        amount_micro_usd: amount,
        run_id: attempt.run,
        attempt_id: attempt.id,
      })),
    )
    .execute();
}

/** What a run has cost and still holds. */
export async function runCost(
  trx: Transaction<Database>,
  run: string,
): Promise<{ readonly limit: number; readonly settled: number; readonly reserved: number }> {
  const row = await trx
    .selectFrom('ledger_accounts')
    .select(['limit_micro_usd', 'settled_micro_usd', 'reserved_micro_usd'])
    .where('id', '=', runAccount(run))
    .executeTakeFirst();
  return {
    limit: row?.limit_micro_usd ?? 0,
    settled: row?.settled_micro_usd ?? 0,
    reserved: row?.reserved_micro_usd ?? 0,
  };
}
