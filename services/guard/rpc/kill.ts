import type { MessageInitShape } from '@bufbuild/protobuf';
import type { KillRequest, KillResponseSchema } from '#gen/steward/guard/v1/kill_switch_service_pb.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { GuardDeps } from '../deps.ts';
import { toWireSwitch } from '../stopping/message.ts';
import { place } from '../stopping/refused.ts';
import { readAction, readId, readReason } from '../stopping/requests.ts';
import { confirm, setSwitch } from '../stopping/switches.ts';
import { tellRuns } from '../stopping/tell.ts';

/** Sets a kill switch, tells the runs of its scope, and waits a little for what is in flight to be resolved. */
export async function kill(
  ctx: CallContext,
  deps: GuardDeps,
  request: KillRequest,
): Promise<MessageInitShape<typeof KillResponseSchema>> {
  const { principal } = ctx;
  const id = readId('request_id', request.requestId);
  const reason = readReason(request.reason);
  const where = await place(deps, principal, request, 'kill');
  const action = readAction(where.scope, request.action);
  const { drill } = request;
  const row = await setSwitch(deps, { ...where, id, mode: 'kill', action, reason, drill, by: principal.subject });
  if (row.lifted_at === null) await tellRuns(deps, row);
  const stopped = await confirm(deps, row);
  return { switch: toWireSwitch(row, principal.tenant), stopped };
}
