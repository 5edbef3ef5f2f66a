import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { sql } from 'kysely';
import { runAccount } from '#domain/ids.ts';
import {
  Level,
  type ListEntriesRequest,
  type ListEntriesResponseSchema,
} from '#gen/steward/budget/v1/budget_service_pb.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { monthOf } from '../budget/levels.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { readPlace, writePlace } from '../pages.ts';
import { readRun } from '../run-rows.ts';

const PAGE = 50;
const MOST = 200;
const LEVELS: readonly Level[] = [Level.RUN, Level.USER_MONTH, Level.TENANT_MONTH];

interface Row {
  readonly id: string;
  readonly place: string;
  readonly at: Date;
  readonly kind: string;
  readonly amount: number;
  readonly run: string | null;
  readonly attempt: string | null;
  readonly model: string | null;
  readonly by: string | null;
  readonly reason: string | null;
}

/** What moved an account, newest first: its model calls as they stand, and its entries. */
export async function listEntries(
  ctx: CallContext,
  deps: RunApiDeps,
  request: ListEntriesRequest,
): Promise<MessageInitShape<typeof ListEntriesResponseSchema>> {
  const { level, subject } = request;
  const month = request.month === '' ? monthOf(Date.now()) : request.month;
  const checks = new Checks();
  checks.that(LEVELS.includes(level), 'level', "must be a run, a user's month, or the tenant's");
  if (level === Level.RUN) checks.runId(subject, 'subject');
  if (level === Level.USER_MONTH) checks.line('subject', subject, { min: 1, max: 200 });
  checks.that(/^\d{4}-(0[1-9]|1[0-2])$/.test(month), 'month', 'must be yyyy-mm');
  const size = checks.pageSize(request.pageSize, PAGE, MOST);
  checks.done();
  const after = readPlace(request.pageToken);
  return withTenant(deps.db, ctx.principal.tenant, async (trx) => {
    if (level === Level.RUN) await readRun(trx, ctx.principal, subject);
    const account =
      level === Level.RUN
        ? runAccount(subject)
        : level === Level.USER_MONTH
          ? `user-month/${month}/${subject}`
          : `tenant-month/${month}`;
    const mine =
      level === Level.RUN
        ? sql`c.run_id = ${subject}`
        : level === Level.USER_MONTH
          ? sql`c.user_account = ${account} and c.created_at >= ${`${month}-01`}::date`
          : sql`c.month_account = ${account} and c.created_at >= ${`${month}-01`}::date`;
    const from = after ? sql`where (at, id) < (${after.at}::timestamptz, ${after.id})` : sql``;
    const { rows } = await sql<Row>`
      select *, at::text as place from (
        select 'a' || replace(c.attempt_id, '/', '_') as id, coalesce(c.ended_at, c.created_at) as at,
          case c.state when 'reserved' then 'held' else c.state end as kind,
          coalesce(c.settled_micro_usd, c.reserved_micro_usd) as amount, c.run_id as run, c.attempt_id as attempt,
          c.model, null::text as by, c.failure as reason
        from agent_run_costs c where ${mine}
        union all
        select 'e' || e.id, e.at, e.kind, e.amount_micro_usd, e.run_id, e.attempt_id, null, e.by_subject, e.reason
        from ledger_entries e where e.account = ${account}
      ) as entry ${from}
      order by at desc, id desc limit ${size + 1}`.execute(trx);
    const page = rows.slice(0, size);
    const last = page.at(-1);
    return {
      entries: page.map((row) => ({
        at: timestampFromDate(row.at),
        kind: row.kind,
        amountMicroUsd: BigInt(row.amount),
        runId: row.run ?? '',
        attemptId: row.attempt ?? '',
        model: row.model ?? '',
        bySubject: row.by ?? '',
        reason: row.reason ?? '',
      })),
      nextPageToken: last && rows.length > size ? writePlace({ at: last.place, id: last.id }) : '',
    };
  });
}
