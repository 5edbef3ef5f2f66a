import { randomUUID } from 'node:crypto';
import type { MessageInitShape } from '@bufbuild/protobuf';
import {
  type SetSafeModeRequest,
  type SetSafeModeResponseSchema,
  SwitchScope,
} from '#gen/steward/guard/v1/kill_switch_service_pb.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { GuardDeps } from '../deps.ts';
import { toWireSwitch } from '../stopping/message.ts';
import { place } from '../stopping/refused.ts';
import { readReason } from '../stopping/requests.ts';
import { liftSwitch, setSwitch } from '../stopping/switches.ts';

/** Turns safe mode on or off. Switches of the same scope and target are one. */
export async function setSafeMode(
  ctx: CallContext,
  deps: GuardDeps,
  request: SetSafeModeRequest,
): Promise<MessageInitShape<typeof SetSafeModeResponseSchema>> {
  const { principal } = ctx;
  const reason = readReason(request.reason);
  const scope = request.scope === SwitchScope.UNSPECIFIED ? SwitchScope.TENANT : request.scope;
  const where = await place(deps, principal, { ...request, scope }, 'safe-mode');
  const standing = await withTenant(deps.db, where.tenant, (trx) =>
    trx
      .selectFrom('kill_switches')
      .selectAll()
      .where('mode', '=', 'safe_mode')
      .where('tenant', '=', where.tenant)
      .where('scope', '=', where.scope)
      .where('target', '=', where.target)
      .where('lifted_at', 'is', null)
      .execute(),
  );
  const by = principal.subject;
  if (request.on) {
    const id = randomUUID();
    const row =
      standing[0] ??
      (await setSwitch(deps, { ...where, id, mode: 'safe_mode', action: 'none', reason, drill: false, by }));
    return { switch: toWireSwitch(row, principal.tenant) };
  }
  let last = null;
  for (const row of standing) last = (await liftSwitch(deps, row, by, reason)) ?? last;
  return last ? { switch: toWireSwitch(last, principal.tenant) } : {};
}
