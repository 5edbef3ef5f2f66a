import type { MessageInitShape } from '@bufbuild/protobuf';
import type { GetSwitchRequest, GetSwitchResponseSchema } from '#gen/steward/guard/v1/kill_switch_service_pb.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { isPlatform } from '#platform/identity/platform-tenant.ts';
import type { GuardDeps } from '../deps.ts';
import { toWireSwitch } from '../stopping/message.ts';
import { readSwitch } from '../stopping/read.ts';
import { readId } from '../stopping/requests.ts';
import { stopped } from '../stopping/switches.ts';

/** One switch. What a product switch has stopped, over all tenants, only the platform tenant is told. */
export async function getSwitch(
  ctx: CallContext,
  deps: GuardDeps,
  request: GetSwitchRequest,
): Promise<MessageInitShape<typeof GetSwitchResponseSchema>> {
  const { principal } = ctx;
  const row = await readSwitch(deps, principal, readId('switch_id', request.switchId));
  const told = row.scope !== 'product' || isPlatform(principal, deps.platformTenant);
  return { switch: toWireSwitch(row, principal.tenant), ...(told ? { stopped: await stopped(deps, row) } : {}) };
}
