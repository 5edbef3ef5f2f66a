import type { MessageInitShape } from '@bufbuild/protobuf';
import type { GetAgentRequest, GetAgentResponseSchema } from '#gen/steward/admin/v1/admin_service_pb.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { findAgent } from '../starting/narrow.ts';
import { toAgent } from '../views/agent.ts';

/** One version of an agent, with the text it was applied as. */
export async function getAgent(
  ctx: CallContext,
  deps: RunApiDeps,
  request: GetAgentRequest,
): Promise<MessageInitShape<typeof GetAgentResponseSchema>> {
  const checks = new Checks();
  checks.that(/^[a-z0-9][a-z0-9-]{0,62}$/.test(request.name), 'name', 'must be the name of an agent');
  checks.that(/^([0-9a-f]{64})?$/.test(request.hash), 'hash', 'must be 64 hex digits, or empty');
  checks.done();
  return withTenant(deps.db, ctx.principal.tenant, async (trx) => ({
    agent: toAgent(await findAgent(trx, request.name, request.hash === '' ? null : request.hash)),
  }));
}
