import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import type { Selectable } from 'kysely';
import {
  SwitchAction,
  SwitchMode,
  type SwitchSchema,
  SwitchScope,
} from '#gen/steward/guard/v1/kill_switch_service_pb.ts';
import type { KillSwitchesTable } from '#platform/database/governance-tables.ts';

export type SwitchRow = Selectable<KillSwitchesTable>;

const SCOPES = {
  product: SwitchScope.PRODUCT,
  tenant: SwitchScope.TENANT,
  agent: SwitchScope.AGENT,
  tool: SwitchScope.TOOL,
  user: SwitchScope.USER,
  run: SwitchScope.RUN,
} as const;
const ACTIONS = { cancel: SwitchAction.CANCEL, pause: SwitchAction.PAUSE, none: SwitchAction.NONE } as const;

/** A switch as it is shown to somebody of a tenant: of a product switch, others hear that it is on and no more. */
export function toWireSwitch(row: SwitchRow, reader: string): MessageInitShape<typeof SwitchSchema> {
  const own = row.tenant === reader || row.scope !== 'product';
  const at = (name: 'setAt' | 'liftedAt' | 'toldAt', time: Date | null) =>
    time === null ? {} : { [name]: timestampFromDate(time) };
  return {
    id: row.id,
    scope: SCOPES[row.scope],
    tenant: row.scope === 'product' ? '' : row.tenant,
    target: row.target,
    mode: row.mode === 'kill' ? SwitchMode.KILL : SwitchMode.SAFE_MODE,
    action: ACTIONS[row.action],
    drill: row.drill,
    ...(own ? { reason: row.reason, setBy: row.set_by } : {}),
    ...(own ? { liftedBy: row.lifted_by ?? '', liftReason: row.lift_reason ?? '' } : {}),
    ...at('setAt', row.set_at),
    ...at('liftedAt', row.lifted_at),
    ...at('toldAt', row.told_at),
  };
}
