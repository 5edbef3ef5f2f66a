import type { MessageInitShape } from '@bufbuild/protobuf';
import { type SqlBool, sql } from 'kysely';
import { type ListRunsRequest, type ListRunsResponseSchema, RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { seesAll, tenantOf, userOf } from '../access.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { findRuns } from '../listing/find.ts';
import { readPlace, writePlace } from '../pages.ts';
import { selectRuns } from '../run-rows.ts';
import { statusOf, toRun } from '../views/run.ts';

const PAGE = 20;
const MOST = 100;
const MOST_LABELS = 20;
const MOST_WORDS = 10;
/** Characters of input and outcome, so that a page of runs fits one message. */
const SHORT = 1_000;

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
  const after = checks.time('created_after', request.createdAfter);
  const before = checks.time('created_before', request.createdBefore);
  checks.text('text', request.text, { max: 200 });
  const words = request.text.split(/\s+/u).filter((word) => word !== '');
  checks.that(words.length <= MOST_WORDS, 'text', `must be at most ${MOST_WORDS} words`);
  checks.done();
  const place = readPlace(request.pageToken);

  return withTenant(deps.db, tenant, async (trx) => {
    let dense = trx.selectFrom('agent_runs as r').orderBy('r.created_at', 'desc').orderBy('r.id', 'desc');
    if (statuses.length > 0) dense = dense.where('r.status', 'in', statuses);
    if (request.agent !== '') dense = dense.where('r.agent', '=', request.agent);
    if (request.actingUser !== '') dense = dense.where('r.acting_user', '=', request.actingUser);
    if (after !== undefined) dense = dense.where('r.created_at', '>', after);
    if (before !== undefined) dense = dense.where('r.created_at', '<', before);
    if (!seesAll(principal)) {
      dense = dense.where((eb) =>
        eb.or([eb('r.started_by', '=', principal.subject), eb('r.acting_user', '=', userOf(principal))]),
      );
    }
    if (place) dense = dense.where(sql<SqlBool>`(r.created_at, r.id) < (${place.at}::timestamptz, ${place.id})`);
    const { ids, next } = await findRuns(
      trx,
      dense,
      { tenant, labels: request.labels, tool: request.tool, words },
      size,
    );
    const runs =
      ids.length === 0
        ? []
        : await selectRuns(trx, SHORT)
            .where('r.id', 'in', ids)
            .orderBy('r.created_at', 'desc')
            .orderBy('r.id', 'desc')
            .execute();
    return {
      runs: runs.map((run) => toRun(run, deps.temporalUi)),
      nextPageToken: next === undefined ? '' : writePlace(next),
    };
  });
}
