import type { MessageInitShape } from '@bufbuild/protobuf';
import { StewardError } from '#domain/errors.ts';
import type { UnkillRequest, UnkillResponseSchema } from '#gen/steward/guard/v1/kill_switch_service_pb.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { isPlatform } from '#platform/identity/platform-tenant.ts';
import type { GuardDeps } from '../deps.ts';
import { toWireSwitch } from '../stopping/message.ts';
import { readSwitch } from '../stopping/read.ts';
import { readId, readReason } from '../stopping/requests.ts';
import { resumePaused } from '../stopping/resume.ts';
import { liftSwitch, stopped } from '../stopping/switches.ts';

/** Lifts a switch and, where asked to, lets the runs that it paused go on. */
export async function unkill(
  ctx: CallContext,
  deps: GuardDeps,
  request: UnkillRequest,
): Promise<MessageInitShape<typeof UnkillResponseSchema>> {
  const { principal } = ctx;
  const reason = readReason(request.reason);
  const row = await readSwitch(deps, principal, readId('switch_id', request.switchId));
  if (row.scope === 'product' && !isPlatform(principal, deps.platformTenant)) {
    throw new StewardError('NOT_PERMITTED', 'It stops the whole product: operators of the platform tenant lift it.');
  }
  // What a drill found is part of the record of its end.
  const found = row.drill ? { drill: await stopped(deps, row) } : {};
  const lifted = await liftSwitch(deps, row, principal.subject, reason, found);
  const resumed = request.resume && row.action === 'pause' ? await resumePaused(deps, row, principal.subject) : 0;
  return { switch: toWireSwitch(lifted ?? row, principal.tenant), resumed };
}
