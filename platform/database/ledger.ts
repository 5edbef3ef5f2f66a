import { type Selectable, sql, type Transaction, type UpdateObject } from 'kysely';
import type { Usage } from '#domain/conversation.ts';
import { type ErrorCode, StewardError } from '#domain/errors.ts';
import { monthOfAccount, productPart, runAccount } from '#domain/ids.ts';
import type { BudgetLevel } from '#domain/run.ts';
import type { Remainders } from './accounts.ts';
import { refundMore } from './refunds.ts';
import type { Database } from './tables.ts';

type LedgerRow = Selectable<Database['ledger_accounts']>;

/**
 * The ledger: reserve before a model call, settle after it, on every level of the budget tree in one transaction.
 * Accounts are locked run, user, tenant, and before the run row; the product's part after it. All amounts are micro-USD.
 */

export interface NewAttempt {
  readonly id: string;
  readonly turn: number;
  readonly purpose: 'turn' | 'summary';
  readonly model: string;
  readonly reserve: number;
  /** When it is priced: what it costs in the end is priced at the same moment. */
  readonly at: Date;
  readonly deadlineAt: Date;
}

/** The product's part was taken by others since it was read: the transaction is to be begun anew. */
export class ProductMoved extends Error {}

/**
 * Reserves for one attempt on accounts that `lockRemainders` has locked and found sufficient. Refuses to go past a
 * limit even if the caller did not look. Throws ProductMoved where only the product's part, which is not locked before,
 * does not afford it any more.
 */
export async function reserve(
  trx: Transaction<Database>,
  tenant: string,
  run: string,
  remainders: Pick<Remainders, 'user' | 'month' | 'product'>,
  attempt: NewAttempt,
): Promise<void> {
  const [own, user, month] = [runAccount(run), remainders.user.account, remainders.month.account];
  const minute = new Date(Math.floor(attempt.at.getTime() / 60_000) * 60_000);
  const reserved = await trx
    .with('moved', (db) =>
      db
        .updateTable('ledger_accounts')
        .set({
          reserved_micro_usd: sql`reserved_micro_usd + ${attempt.reserve}`,
          rate_minute: sql`case when id = ${user} then ${minute}::timestamptz end`,
          rate_calls: sql`case when id <> ${user} then 0 when rate_minute = ${minute} then rate_calls + 1 else 1 end`,
        })
        .where('id', 'in', [own, user, month])
        .where(
          sql<boolean>`(limit_micro_usd is null
            or settled_micro_usd + reserved_micro_usd + ${attempt.reserve} <= limit_micro_usd)`,
        )
        .returning('id'),
    )
    .with('part', (db) =>
      db
        .updateTable('product_accounts')
        .set({ reserved_micro_usd: sql`reserved_micro_usd + ${attempt.reserve}` })
        .where('month', '=', remainders.product.account)
        .where('part', '=', productPart(run))
        .where(
          sql<boolean>`(allotted_micro_usd is null
            or settled_micro_usd + reserved_micro_usd + ${attempt.reserve} <= allotted_micro_usd)`,
        )
        .returning('part'),
    )
    .insertInto('agent_run_costs')
    .values({
      tenant,
      run_id: run,
      attempt_id: attempt.id,
      turn: attempt.turn,
      purpose: attempt.purpose,
      model: attempt.model,
      state: 'reserved',
      month_account: month,
      user_account: user,
      reserved_micro_usd: attempt.reserve,
      created_at: attempt.at,
      deadline_at: attempt.deadlineAt,
    })
    .returning((eb) => [
      eb.selectFrom('moved').select(eb.fn.countAll<number>().as('n')).as('accounts'),
      eb.selectFrom('part').select(eb.fn.countAll<number>().as('n')).as('parts'),
    ])
    .executeTakeFirstOrThrow();
  if (reserved.accounts !== 3) {
    throw new StewardError('BUDGET_EXCEEDED', `One of ${own}, ${user} and ${month} does not afford this call.`);
  }
  if (reserved.parts !== 1) throw new ProductMoved(`The part of ${run} of ${remainders.product.account} was taken.`);
}

export interface Settlement {
  readonly costMicroUsd: number;
  /** True where more was billed than reserved. */
  readonly overage: boolean;
  /** True where this call settled it; false where it had been settled before. */
  readonly first: boolean;
  /** Of the run, this included. */
  readonly spent: RunCost;
  /** The levels with a limit that this has moved, as they stand now; none where it was settled before. */
  readonly moved: readonly MovedLevel[];
}

/** An account that a settlement has moved. */
export interface MovedLevel {
  readonly level: BudgetLevel;
  readonly account: string;
  readonly limit: number;
  readonly settled: number;
  /** What it had settled before. */
  readonly was: number;
}

/** An attempt as it stands, locked with its accounts. */
export interface LockedAttempt {
  readonly id: string;
  readonly run: string;
  readonly turn: number;
  readonly model: string;
  readonly month: string;
  /** Null where it was reserved before users had accounts. */
  readonly user: string | null;
  readonly state: 'reserved' | 'settled' | 'charged' | 'released';
  readonly reserved: number;
  readonly settled: number | null;
  readonly createdAt: Date;
}

/** Locks an attempt after the accounts it was reserved on. Throws INTERNAL where the run has no such attempt. */
export async function lockAttempt(trx: Transaction<Database>, run: string, attemptId: string): Promise<LockedAttempt> {
  const row = await trx
    .with('accounts', (db) =>
      db
        .selectFrom('ledger_accounts')
        .select('id')
        .where(
          sql<boolean>`id = any(array[${runAccount(run)}] || (select array[c.user_account, c.month_account]
            from agent_run_costs c where c.attempt_id = ${attemptId}))`,
        )
        .orderBy(sql`case split_part(id, '/', 1) when 'run' then 0 when 'user-month' then 1 else 2 end`)
        .forUpdate(),
    )
    .selectFrom('agent_run_costs')
    .select([
      'turn',
      'model',
      'month_account',
      'user_account',
      'state',
      'reserved_micro_usd',
      'settled_micro_usd',
      'created_at',
    ])
    .where('attempt_id', '=', attemptId)
    .where('run_id', '=', run)
    // Asked for before the row is locked, and so are the accounts.
    .where((eb) => eb(eb.selectFrom('accounts').select(eb.fn.countAll<number>().as('n')), '>', 0))
    .forUpdate('agent_run_costs')
    .executeTakeFirst();
  if (!row) throw new StewardError('INTERNAL', `Attempt ${attemptId} was never reserved for.`);
  return {
    id: attemptId,
    run,
    turn: row.turn,
    model: row.model,
    month: row.month_account,
    user: row.user_account,
    state: row.state,
    reserved: row.reserved_micro_usd,
    settled: row.settled_micro_usd,
    createdAt: row.created_at,
  };
}

/**
 * Settles a locked attempt at what it cost, once. A settled attempt keeps its first settlement; one that the sweeper has
 * charged at its reservation is corrected to what it really cost.
 */
export async function settle(
  trx: Transaction<Database>,
  tenant: string,
  attempt: LockedAttempt,
  actual: {
    readonly cost: number;
    readonly usage: Usage | null;
    readonly answeredBy?: string;
    readonly requestId?: string | null;
    /** Why there is no answer; left out where there is one. */
    readonly failure?: ErrorCode;
  },
): Promise<Settlement> {
  if (attempt.state === 'settled' || attempt.state === 'released') {
    const settled = attempt.settled ?? 0;
    const spent = await runCost(trx, attempt.run);
    return { costMicroUsd: settled, overage: settled > attempt.reserved, first: false, spent, moved: [] };
  }
  const charged = attempt.state === 'charged' ? (attempt.settled ?? 0) : 0;
  const by = { reserved: attempt.state === 'reserved' ? -attempt.reserved : 0, settled: actual.cost - charged };
  // In this order no account is below nothing in between.
  if (charged > 0 && by.settled < 0) await refundMore(trx, tenant, attempt, by.settled);
  const { spent, moved } = await end(trx, attempt, by, {
    state: actual.usage === null && actual.cost === 0 ? 'released' : 'settled',
    settled_micro_usd: actual.cost,
    usage: actual.usage === null ? null : JSON.stringify(actual.usage),
    answered_by: actual.answeredBy ?? null,
    provider_request_id: actual.requestId ?? null,
    failure: actual.failure ?? null,
  });
  const overage = actual.cost > attempt.reserved;
  if (overage) await enter(trx, tenant, attempt, 'overage', actual.cost - attempt.reserved);
  if (charged > 0 && by.settled > 0) await refundMore(trx, tenant, attempt, by.settled);
  return { costMicroUsd: actual.cost, overage, first: true, spent, moved };
}

/**
 * Settles a dead attempt at its whole reservation: nobody knows what it cost, and it cannot have cost more. 0 where it has
 * settled meanwhile.
 */
export async function chargeDead(
  trx: Transaction<Database>,
  tenant: string,
  run: string,
  attemptId: string,
): Promise<{ readonly cost: number; readonly moved: readonly MovedLevel[] }> {
  const attempt = await lockAttempt(trx, run, attemptId);
  if (attempt.state !== 'reserved') return { cost: 0, moved: [] };
  const by = { reserved: -attempt.reserved, settled: attempt.reserved };
  const { moved } = await end(trx, attempt, by, { state: 'charged', settled_micro_usd: attempt.reserved });
  await enter(trx, tenant, attempt, 'charge', attempt.reserved);
  return { cost: attempt.reserved, moved };
}

/** Moves all its accounts and ends the attempt, in one statement; returns what the run has cost by then. */
async function end(
  trx: Transaction<Database>,
  attempt: LockedAttempt,
  by: { readonly reserved: number; readonly settled: number },
  set: UpdateObject<Database, 'agent_run_costs', 'agent_run_costs'>,
): Promise<{ readonly spent: RunCost; readonly moved: readonly MovedLevel[] }> {
  const own = runAccount(attempt.run);
  const moves = {
    reserved_micro_usd: sql<number>`reserved_micro_usd + ${by.reserved}`,
    settled_micro_usd: sql<number>`settled_micro_usd + ${by.settled}`,
  };
  const rows = await trx
    .with('ended', (db) =>
      db
        .updateTable('agent_run_costs')
        .set({ ...set, ended_at: new Date() })
        .where('attempt_id', '=', attempt.id),
    )
    .with('part', (db) =>
      db
        .updateTable('product_accounts')
        .set(moves)
        .where('month', '=', attempt.user === null ? '' : (monthOfAccount(attempt.month) ?? ''))
        .where('part', '=', productPart(attempt.run)),
    )
    .updateTable('ledger_accounts')
    .set(moves)
    .where('id', 'in', accountsOf(attempt))
    .returning(['id', 'limit_micro_usd', 'settled_micro_usd', 'reserved_micro_usd'])
    .execute();
  const moved = rows.flatMap(({ id, limit_micro_usd: limit, settled_micro_usd: settled }) =>
    limit === null ? [] : [{ level: levelOf(id), account: id, limit, settled, was: settled - by.settled }],
  );
  return { spent: toCost(rows.find((row) => row.id === own)), moved };
}

/** The accounts of an attempt but the product's. */
export function accountsOf(attempt: Pick<LockedAttempt, 'run' | 'user' | 'month'>): string[] {
  return [runAccount(attempt.run), ...(attempt.user === null ? [] : [attempt.user]), attempt.month];
}

function levelOf(account: string): BudgetLevel {
  if (account.startsWith('run/')) return 'run';
  return account.startsWith('user-month/') ? 'user_month' : 'tenant_month';
}

async function enter(
  trx: Transaction<Database>,
  tenant: string,
  attempt: LockedAttempt,
  kind: 'charge' | 'overage',
  amount: number,
): Promise<void> {
  await trx
    .insertInto('ledger_entries')
    .values(
      accountsOf(attempt).map((account) => ({
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
export interface RunCost {
  readonly limit: number;
  readonly settled: number;
  readonly reserved: number;
}

/** Zero throughout where the run has no account. */
export async function runCost(trx: Transaction<Database>, run: string): Promise<RunCost> {
  const row = await trx
    .selectFrom('ledger_accounts')
    .select(['limit_micro_usd', 'settled_micro_usd', 'reserved_micro_usd'])
    .where('id', '=', runAccount(run))
    .executeTakeFirst();
  return toCost(row);
}

function toCost(
  row: Pick<LedgerRow, 'limit_micro_usd' | 'settled_micro_usd' | 'reserved_micro_usd'> | undefined,
): RunCost {
  return {
    limit: row?.limit_micro_usd ?? 0,
    settled: row?.settled_micro_usd ?? 0,
    reserved: row?.reserved_micro_usd ?? 0,
  };
}
