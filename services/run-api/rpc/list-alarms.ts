import type { MessageInitShape } from '@bufbuild/protobuf';
import { sql } from 'kysely';
import type { ListAlarmsRequest, ListAlarmsResponseSchema } from '#gen/steward/budget/v1/budget_service_pb.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { type AlarmRow, toAlarm } from '../budget/alarms.ts';
import { assertPlatform } from '../budget/levels.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { readPlace, writePlace } from '../pages.ts';

const PAGE = 50;
const MOST = 200;

/** The tenant's alarms, or the product's, newest first. */
export async function listAlarms(
  ctx: CallContext,
  deps: RunApiDeps,
  request: ListAlarmsRequest,
): Promise<MessageInitShape<typeof ListAlarmsResponseSchema>> {
  const { tenant } = ctx.principal;
  const checks = new Checks();
  const size = checks.pageSize(request.pageSize, PAGE, MOST);
  checks.done();
  const after = readPlace(request.pageToken);
  return withTenant(deps.db, tenant, async (trx) => {
    if (request.product) await assertPlatform(trx, tenant);
    const table = request.product ? sql`(select *, null::text as run_id from product_alarms) a` : sql`budget_alarms a`;
    const { rows } = await sql<AlarmRow & { readonly place: string }>`
      select a.id, a.kind, a.subject, a.step, a.run_id, a.data, a.at, a.acknowledged_by, a.acknowledged_at,
        a.at::text as place
      from ${table}
      where ${request.open ? sql`a.acknowledged_at is null` : sql`true`}
        and ${after ? sql`(a.at, a.id) < (${after.at}::timestamptz, ${after.id}::int8)` : sql`true`}
      order by a.at desc, a.id desc limit ${size + 1}`.execute(trx);
    const page = rows.slice(0, size);
    const last = page.at(-1);
    return {
      alarms: page.map(toAlarm),
      nextPageToken: last && rows.length > size ? writePlace({ at: last.place, id: String(last.id) }) : '',
    };
  });
}
