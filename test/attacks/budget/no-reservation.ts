import { sql } from 'kysely';
import { productPart, runAccount, tenantMonthAccount, userMonthAccount } from '#domain/ids.ts';
import type { BudgetLevel } from '#domain/run.ts';
import { openMonths, type Remainder, type Remainders } from '#platform/database/accounts.ts';
import type { TurnStoreDeps } from '#platform/database/turns.ts';

/** A ledger that does not look at what is left, nor locks what others share: as if a budget were checked somewhere, some time before the call. */
export const NO_RESERVATION: NonNullable<TurnStoreDeps['ledger']> = {
  async lockRemainders(trx, tenant, run, now): Promise<Remainders> {
    const { acting_user: user } = await trx
      .selectFrom('agent_runs')
      .select('acting_user')
      .where('id', '=', run)
      .executeTakeFirstOrThrow();
    await openMonths(trx, tenant, user, now);
    // What is settled takes this lock first: without it, the attack would meet deadlocks and little else.
    await sql`select from ledger_accounts where id = ${runAccount(run)} for update`.execute(trx);
    const level = (name: BudgetLevel, account: string): Remainder => ({
      level: name,
      account,
      micro: Number.MAX_SAFE_INTEGER,
    });
    const own = level('run', runAccount(run));
    const ofUser = level('user_month', userMonthAccount(now.getTime(), user));
    const month = level('tenant_month', tenantMonthAccount(now.getTime()));
    const product = level('product_month', month.account.slice('tenant-month/'.length));
    const rate = { minute: 0, calls: 0, p99: 0 };
    return { run: own, user: ofUser, month, product, all: [own, ofUser, month, product], rate };
  },

  async reserve(trx, tenant, run, { user, month, product }, attempt) {
    for (const account of [runAccount(run), user.account, month.account]) {
      await sql`update ledger_accounts set reserved_micro_usd = reserved_micro_usd + ${attempt.reserve}
        where tenant = ${tenant} and id = ${account}`.execute(trx);
    }
    await sql`update product_accounts set reserved_micro_usd = reserved_micro_usd + ${attempt.reserve}
      where month = ${product.account} and part = ${productPart(run)}`.execute(trx);
    await trx
      .insertInto('agent_run_costs')
      .values({
        tenant,
        run_id: run,
        attempt_id: attempt.id,
        turn: attempt.turn,
        purpose: attempt.purpose,
        model: attempt.model,
        state: 'reserved',
        month_account: month.account,
        user_account: user.account,
        reserved_micro_usd: attempt.reserve,
        created_at: attempt.at,
        deadline_at: attempt.deadlineAt,
      })
      .execute();
  },
};
