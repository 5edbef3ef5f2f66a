import type { MessageInitShape } from '@bufbuild/protobuf';
import { type SqlBool, sql } from 'kysely';
import type {
  ListInvestigationsRequest,
  ListInvestigationsResponseSchema,
} from '#gen/steward/admin/v1/investigation_service_pb.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { investigationRows, toInvestigation } from '../investigating/rows.ts';
import { readPlace, writePlace } from '../pages.ts';

const PAGE = 50;
const MOST = 100;
const STATES: readonly string[] = ['', 'open', 'closed'];
const REASONS: readonly string[] = ['', 'anomaly', 'aborted', 'capped', 'sample'];

/** The queue, newest first. */
export async function listInvestigations(
  ctx: CallContext,
  deps: RunApiDeps,
  request: ListInvestigationsRequest,
): Promise<MessageInitShape<typeof ListInvestigationsResponseSchema>> {
  const { state, reason, assignee } = request;
  const checks = new Checks();
  checks.that(STATES.includes(state), 'state', 'must be open or closed');
  checks.that(REASONS.includes(reason), 'reason', `must be one of ${REASONS.slice(1).join(', ')}`);
  checks.line('assignee', assignee, { max: 200 });
  const size = checks.pageSize(request.pageSize, PAGE, MOST);
  checks.done();
  const after = readPlace(request.pageToken);
  return withTenant(deps.db, ctx.principal.tenant, async (trx) => {
    let query = investigationRows(trx)
      .select(sql<string>`i.opened_at::text`.as('place'))
      .orderBy('i.opened_at', 'desc')
      .orderBy('i.run_id', 'desc')
      .limit(size + 1);
    if (state !== '') query = query.where('i.state', '=', state as 'open');
    if (reason !== '') query = query.where(sql<SqlBool>`${reason} = any(i.reasons)`);
    if (assignee !== '') query = query.where('i.assignee', '=', assignee);
    if (after) query = query.where(sql<SqlBool>`(i.opened_at, i.run_id) < (${after.at}::timestamptz, ${after.id})`);
    const found = await query.execute();
    const page = found.slice(0, size);
    const last = page.at(-1);
    return {
      investigations: page.map(toInvestigation),
      nextPageToken: last && found.length > size ? writePlace({ at: last.place, id: last.run_id }) : '',
    };
  });
}
