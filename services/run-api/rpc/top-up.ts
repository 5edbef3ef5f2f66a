import type { MessageInitShape } from '@bufbuild/protobuf';
import { sql, type Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { tenantMonthAccount, userMonthAccount } from '#domain/ids.ts';
import { Level, type TopUpRequest, type TopUpResponseSchema } from '#gen/steward/budget/v1/budget_service_pb.ts';
import { lockSettings } from '#platform/database/accounts.ts';
import { audit } from '#platform/database/journal.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { balancesOf, openAccounts } from '../budget/levels.ts';
import { tellWaiting } from '../budget/limits.ts';
import { topUpProduct } from '../budget/product.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { readTenant } from '../views/tenant.ts';
import { raiseBudget } from './raise-budget.ts';

const MOST = 1_000_000_000_000n;
const NAMES: Readonly<Partial<Record<number, string>>> = {
  [Level.RUN]: 'run',
  [Level.USER_MONTH]: 'user_month',
  [Level.TENANT_MONTH]: 'tenant_month',
  [Level.PRODUCT_MONTH]: 'product_month',
};

/** Adds to one level, once per request id, and has the runs that wait for it look again. */
export async function topUp(
  ctx: CallContext,
  deps: RunApiDeps,
  request: TopUpRequest,
): Promise<MessageInitShape<typeof TopUpResponseSchema>> {
  const { tenant, subject: by, roles } = ctx.principal;
  const { level, subject, requestId, reason } = request;
  const checks = new Checks();
  checks.line('request_id', requestId, { min: 1, max: 100 });
  checks.text('reason', reason, { max: 500 });
  checks.that(NAMES[level] !== undefined, 'level', 'is needed');
  checks.that(request.addMicroUsd >= 1n && request.addMicroUsd <= MOST, 'add_micro_usd', `must be 1 to ${MOST}`);
  if (level === Level.USER_MONTH) checks.line('subject', subject, { min: 1, max: 200 });
  const none = level === Level.TENANT_MONTH || level === Level.PRODUCT_MONTH;
  checks.that(!none || subject === '', 'subject', 'is for runs and users');
  if (level === Level.RUN) checks.runId(subject, 'subject');
  checks.done();
  if (level === Level.RUN) {
    await raiseBudget(ctx, deps, {
      $typeName: 'steward.run.v1.RaiseBudgetRequest',
      runId: subject,
      requestId,
      addMicroUsd: request.addMicroUsd,
      reason,
    });
  } else if (!roles.includes('admin')) {
    throw new StewardError('ROLE_MISSING', 'Adding to a month needs the role admin; operators add to runs.');
  }
  const raise = { id: requestId, add: Number(request.addMicroUsd), reason, by };
  const outbox = await withTenant(deps.db, tenant, async (trx) => {
    if (level === Level.RUN) return [];
    await readTenant(trx, tenant);
    const user = level === Level.USER_MONTH ? subject : undefined;
    const made =
      level === Level.PRODUCT_MONTH
        ? await topUpProduct(trx, tenant, raise)
        : await topUpMonth(trx, tenant, user ?? null, raise);
    if (!made) return [];
    const data = { level: NAMES[level], subject, ...raise };
    await audit(trx, tenant, { actor: by, action: 'budget.top_up', data });
    // Waiting runs of other tenants are told by the sweeper.
    return tellWaiting(trx, tenant, user);
  });
  await deps.deliveries.send(tenant, outbox);
  const [balance] = await withTenant(deps.db, tenant, (trx) =>
    balancesOf(trx, {
      ...(level === Level.RUN ? { run: subject } : {}),
      ...(level === Level.USER_MONTH ? { user: subject } : {}),
      tenant: level === Level.TENANT_MONTH,
      product: level === Level.PRODUCT_MONTH,
    }),
  );
  return balance === undefined ? {} : { balance };
}

/** The month in an account's name. */
const MONTH = '/[0-9]{4}-[0-9]{2}';

/** False where it has been made before. */
async function topUpMonth(
  trx: Transaction<Database>,
  tenant: string,
  user: string | null,
  raise: { readonly id: string; readonly add: number; readonly reason: string; readonly by: string },
): Promise<boolean> {
  await lockSettings(trx, tenant);
  await openAccounts(trx, tenant, user);
  const account = user === null ? tenantMonthAccount(Date.now()) : userMonthAccount(Date.now(), user);
  const made = await trx
    .selectFrom('ledger_entries')
    .select(['amount_micro_usd', 'by_subject', 'reason'])
    // Of any month: a repeat may come after midnight.
    .where(sql<boolean>`regexp_replace(account, ${MONTH}, '') = ${account.replace(new RegExp(MONTH), '')}`)
    .where('raise_id', '=', raise.id)
    .executeTakeFirst();
  if (made !== undefined) {
    if (made.amount_micro_usd === raise.add && made.by_subject === raise.by && made.reason === raise.reason)
      return false;
    throw new StewardError('REQUEST_ID_REUSED', `Request id ${raise.id} has added something else. Take a new id.`);
  }
  const row = await trx
    .updateTable('ledger_accounts')
    .set({ limit_micro_usd: sql`limit_micro_usd + ${raise.add}` })
    .where('id', '=', account)
    .where('limit_micro_usd', 'is not', null)
    .returning('id')
    .executeTakeFirst();
  if (row === undefined) throw new StewardError('WRONG_STATE', `${user} has no limit this month: nothing to add to.`);
  await trx
    .insertInto('ledger_entries')
    .values({
      tenant,
      account,
      kind: 'raise',
      amount_micro_usd: raise.add,
      raise_id: raise.id,
      by_subject: raise.by,
      reason: raise.reason,
    })
    .execute();
  return true;
}
