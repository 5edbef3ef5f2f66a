import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampDate } from '@bufbuild/protobuf/wkt';
import { type SqlBool, sql } from 'kysely';
import { type ListRunsRequest, type ListRunsResponseSchema, RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { seesAll, tenantOf, userOf } from '../access.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { readPlace, writePlace } from '../pages.ts';
import { selectRuns } from '../run-rows.ts';
import { statusOf, toRun } from '../views/run.ts';

const PAGE = 20;
const MOST = 100;
const MOST_LABELS = 20;

/** The tenant's runs that the caller may see, newest first; inputs and outcomes cut at 1,000 characters. */
export async function listRuns(
  ctx: CallContext,
  deps: RunApiDeps,
  request: ListRunsRequest,
): Promise<MessageInitShape<typeof ListRunsResponseSchema>> {
  const { principal } = ctx;
  const tenant = tenantOf(principal, request.tenant);
  const checks = new Checks();
  const size = checks.pageSize(request.pageSize, PAGE, MOST);
  const statuses = request.statuses.flatMap((status) => statusOf(status) ?? []);
  checks.that(
    request.statuses.length <= 20 && !request.statuses.includes(RunStatus.UNSPECIFIED),
    'statuses',
    'must be up to 20 statuses, none of them RUN_STATUS_UNSPECIFIED',
  );
  for (const [field, value] of [
    ['agent', request.agent],
    ['acting_user', request.actingUser],
    ['tool', request.tool],
  ] as const) {
    checks.line(field, value, { max: 200 });
  }
  const labels = Object.entries(request.labels);
  checks.that(labels.length <= MOST_LABELS, 'labels', `must be at most ${MOST_LABELS}`);
  for (const [key, value] of labels) checks.text('labels', `${key}${value}`, { max: 250 });
  const after = request.createdAfter === undefined ? undefined : timestampDate(request.createdAfter);
  const before = request.createdBefore === undefined ? undefined : timestampDate(request.createdBefore);
  checks.that(isTime(after), 'created_after', 'must be a time');
  checks.that(isTime(before), 'created_before', 'must be a time');
  checks.done();
  const place = readPlace(request.pageToken);

  return withTenant(deps.db, tenant, async (trx) => {
    let query = selectRuns(trx)
      .orderBy('r.created_at', 'desc')
      .orderBy('r.id', 'desc')
      .limit(size + 1);
    if (statuses.length > 0) query = query.where('r.status', 'in', statuses);
    if (request.agent !== '') query = query.where('r.agent', '=', request.agent);
    if (request.actingUser !== '') query = query.where('r.acting_user', '=', request.actingUser);
    if (labels.length > 0) query = query.where(sql<SqlBool>`r.labels @> ${JSON.stringify(request.labels)}::jsonb`);
    if (after !== undefined) query = query.where('r.created_at', '>', after);
    if (before !== undefined) query = query.where('r.created_at', '<', before);
    if (request.tool !== '') {
      query = query.where(sql<SqlBool>`exists (select from agent_run_tool_invocations i
        where i.tenant = ${tenant} and i.tool = ${request.tool} and i.run_id = r.id and i.started_at is not null)`);
    }
    if (!seesAll(principal)) {
      query = query.where((eb) =>
        eb.or([eb('r.started_by', '=', principal.subject), eb('r.acting_user', '=', userOf(principal))]),
      );
    }
    if (place) query = query.where(sql<SqlBool>`(r.created_at, r.id) < (${place.at}::timestamptz, ${place.id})`);
    const found = await query.execute();
    const page = found.slice(0, size);
    const last = page.at(-1);
    return {
      runs: page.map((run) => toRun(run, deps.temporalUi, { short: true })),
      nextPageToken: last && found.length > size ? writePlace({ at: last.created_at_text, id: last.id }) : '',
    };
  });
}

function isTime(time: Date | undefined): boolean {
  return time === undefined || (!Number.isNaN(time.getTime()) && Math.abs(time.getUTCFullYear() - 2000) < 5_000);
}
