import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ListAgentsRequest, ListAgentsResponseSchema } from '#gen/steward/admin/v1/admin_service_pb.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { readName, writeName } from '../pages.ts';
import { toAgent } from '../views/agent.ts';

const PAGE = 20;
const MOST = 100;

/** The tenant's current versions by name. */
export async function listAgents(
  ctx: CallContext,
  deps: RunApiDeps,
  request: ListAgentsRequest,
): Promise<MessageInitShape<typeof ListAgentsResponseSchema>> {
  const checks = new Checks();
  const size = checks.pageSize(request.pageSize, PAGE, MOST);
  checks.done();
  const after = readName(request.pageToken);
  return withTenant(deps.db, ctx.principal.tenant, async (trx) => {
    const found = await trx
      .selectFrom('agents')
      .select(['name', 'hash', 'definition', 'is_current', 'applied_at', 'applied_by'])
      .where('is_current', '=', true)
      .where('name', '>', after)
      .orderBy('name')
      .limit(size + 1)
      .execute();
    const page = found.slice(0, size);
    const last = page.at(-1);
    return { agents: page.map(toAgent), nextPageToken: last && found.length > size ? writeName(last.name) : '' };
  });
}
