import { type Selectable, sql, type Transaction, type UpdateObject } from 'kysely';
import type { Usage } from '#domain/conversation.ts';
import { type ErrorCode, StewardError } from '#domain/errors.ts';
import { runAccount, tenantMonthAccount } from '#domain/ids.ts';
import type { Database } from './tables.ts';

type LedgerRow = Selectable<Database['ledger_accounts']>;

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
  readonly purpose: 'turn' | 'summary';
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
  const reserved = await trx
    .with('moved', (db) =>
      db
        .updateTable('ledger_accounts')
        .set({ reserved_micro_usd: sql`reserved_micro_usd + ${attempt.reserve}` })
        .where('id', 'in', [runAccount(run), month])
        .where(sql<boolean>`settled_micro_usd + reserved_micro_usd + ${attempt.reserve} <= limit_micro_usd`)
        .returning('id'),
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
      reserved_micro_usd: attempt.reserve,
      created_at: attempt.at,
      deadline_at: attempt.deadlineAt,
    })
    .returning((eb) => eb.selectFrom('moved').select(eb.fn.countAll<number>().as('n')).as('accounts'))
    .executeTakeFirstOrThrow();
  if (reserved.accounts !== 2) {
    throw new StewardError('BUDGET_EXCEEDED', `Account ${runAccount(run)} or ${month} does not afford this call.`);
  }
}

export interface Settlement {
  readonly costMicroUsd: number;
  /** True where more was billed than reserved. */
  readonly overage: boolean;
  /** True where this call settled it; false where it had been settled before. */
  readonly first: boolean;
  /** Of the run, this included. */
  readonly spent: RunCost;
}

/** An attempt as it stands, locked with its accounts. */
export interface LockedAttempt {
  readonly id: string;
  readonly run: string;
  readonly turn: number;
  readonly model: string;
  readonly month: string;
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
        .where((eb) =>
          eb.or([
            eb('id', '=', runAccount(run)),
            eb('id', '=', eb.selectFrom('agent_run_costs').select('month_account').where('attempt_id', '=', attemptId)),
          ]),
        )
        .orderBy('id')
        .forUpdate(),
    )
    .selectFrom('agent_run_costs')
    .select(['turn', 'model', 'month_account', 'state', 'reserved_micro_usd', 'settled_micro_usd', 'created_at'])
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
    return { costMicroUsd: settled, overage: settled > attempt.reserved, first: false, spent };
  }
  const charged = attempt.state === 'charged' ? (attempt.settled ?? 0) : 0;
  const by = { reserved: attempt.state === 'reserved' ? -attempt.reserved : 0, settled: actual.cost - charged };
  const spent = await end(trx, attempt, by, {
    state: actual.usage === null && actual.cost === 0 ? 'released' : 'settled',
    settled_micro_usd: actual.cost,
    usage: actual.usage === null ? null : JSON.stringify(actual.usage),
    answered_by: actual.answeredBy ?? null,
    provider_request_id: actual.requestId ?? null,
    failure: actual.failure ?? null,
  });
  const overage = actual.cost > attempt.reserved;
  if (overage) await enter(trx, tenant, attempt, 'overage', actual.cost - attempt.reserved);
  return { costMicroUsd: actual.cost, overage, first: true, spent };
}

/** Settles a dead attempt at its whole reservation: nobody knows what it cost, and it cannot have cost more. */
export async function chargeDead(
  trx: Transaction<Database>,
  tenant: string,
  run: string,
  attemptId: string,
): Promise<number> {
  const attempt = await lockAttempt(trx, run, attemptId);
  if (attempt.state !== 'reserved') return 0;
  const by = { reserved: -attempt.reserved, settled: attempt.reserved };
  await end(trx, attempt, by, { state: 'charged', settled_micro_usd: attempt.reserved });
  await enter(trx, tenant, attempt, 'charge', attempt.reserved);
  return attempt.reserved;
}

/** Moves both accounts and ends the attempt, in one statement; returns what the run has cost by then. */
async function end(
  trx: Transaction<Database>,
  attempt: LockedAttempt,
  by: { readonly reserved: number; readonly settled: number },
  set: UpdateObject<Database, 'agent_run_costs', 'agent_run_costs'>,
): Promise<RunCost> {
  const own = runAccount(attempt.run);
  const rows = await trx
    .with('ended', (db) =>
      db
        .updateTable('agent_run_costs')
        .set({ ...set, ended_at: new Date() })
        .where('attempt_id', '=', attempt.id),
    )
    .updateTable('ledger_accounts')
    .set({
      reserved_micro_usd: sql`reserved_micro_usd + ${by.reserved}`,
      settled_micro_usd: sql`settled_micro_usd + ${by.settled}`,
    })
    .where('id', 'in', [own, attempt.month])
    .returning(['id', 'limit_micro_usd', 'settled_micro_usd', 'reserved_micro_usd'])
    .execute();
  return toCost(rows.find((row) => row.id === own));
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
