import { StewardError } from '#domain/errors.ts';
import type { SwitchAction, SwitchScope } from '#domain/kill-switch.ts';
import { SwitchAction as WireAction, SwitchScope as WireScope } from '#gen/steward/guard/v1/kill_switch_service_pb.ts';
import { assertPlatform } from '#platform/identity/platform-tenant.ts';
import type { Principal } from '#platform/identity/principal.ts';

const SCOPES: Readonly<Partial<Record<WireScope, SwitchScope>>> = {
  [WireScope.PRODUCT]: 'product',
  [WireScope.TENANT]: 'tenant',
  [WireScope.AGENT]: 'agent',
  [WireScope.TOOL]: 'tool',
  [WireScope.USER]: 'user',
  [WireScope.RUN]: 'run',
};

const ACTIONS: Readonly<Partial<Record<WireAction, SwitchAction>>> = {
  [WireAction.UNSPECIFIED]: 'cancel',
  [WireAction.CANCEL]: 'cancel',
  [WireAction.PAUSE]: 'pause',
};

const TENANT = /^[a-z0-9][a-z0-9_-]{0,62}$/;
const LONGEST_TARGET = 200;
const LONGEST_REASON = 500;

/** What a switch is for. */
export interface Place {
  readonly scope: SwitchScope;
  readonly target: string;
  /** Whose row it is: the tenant it holds for, or the platform tenant. */
  readonly tenant: string;
}

/** Where a switch is to hold. Throws INVALID_REQUEST, and NOT_PERMITTED where it is not the caller's to say. */
export function readPlace(
  principal: Principal,
  platformTenant: string,
  request: { readonly scope: WireScope; readonly tenant: string; readonly target: string },
): Place {
  const scope = SCOPES[request.scope];
  if (!scope) throw refuse('scope', 'must be product, tenant, agent, tool, user or run');
  const whole = scope === 'product' || scope === 'tenant';
  if (whole && request.target !== '') throw refuse('target', `must be left out for scope ${scope}`);
  if (!whole && request.target === '') throw refuse('target', `must name the ${scope}`);
  line('target', request.target, LONGEST_TARGET);
  if (scope === 'product') {
    if (request.tenant !== '') throw refuse('tenant', 'must be left out for scope product');
    assertPlatform(principal, platformTenant);
    return { scope, target: '', tenant: platformTenant };
  }
  const tenant = request.tenant === '' ? principal.tenant : request.tenant;
  if (!TENANT.test(tenant)) throw refuse('tenant', 'must be the id of a tenant');
  if (tenant !== principal.tenant) assertPlatform(principal, platformTenant);
  return { scope, target: request.target, tenant };
}

/** What becomes of running runs. */
export function readAction(scope: SwitchScope, action: WireAction): SwitchAction {
  const read = ACTIONS[action];
  if (!read) throw refuse('action', 'must be cancel or pause');
  if (scope !== 'tool') return read;
  if (action === WireAction.PAUSE) throw refuse('action', 'must be left out for a tool: its runs go on without it');
  return 'none';
}

/** A reason is needed: whoever meets the switch asks for it. */
export function readReason(text: string): string {
  if (text.trim() === '') throw refuse('reason', 'is needed: say why, for the record');
  return line('reason', text, LONGEST_REASON);
}

/** Throws INVALID_REQUEST where it is no id of a request or switch. */
export function readId(field: string, text: string): string {
  if (!/^[\w-]{8,64}$/.test(text)) throw refuse(field, 'must have 8 to 64 letters, digits, - or _');
  return text;
}

function line(field: string, text: string, max: number): string {
  if (text.length > max || !/^\P{Cc}*$/u.test(text) || !text.isWellFormed()) {
    throw refuse(field, `must be one line of at most ${max} characters`);
  }
  return text;
}

function refuse(field: string, what: string): StewardError {
  return new StewardError('INVALID_REQUEST', `${field} ${what}.`, { details: { field } });
}
