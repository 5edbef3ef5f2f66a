import { StewardError } from '#domain/errors.ts';
import type { Principal, Role } from '#platform/identity/principal.ts';

/** Everyone with a tenant: what they see of it depends on `seesAll`. */
export const MEMBERS: readonly Role[] = ['service', 'user', 'approver', 'operator', 'admin', 'auditor'];

const SEES_ALL: ReadonlySet<Role> = new Set<Role>(['operator', 'admin', 'auditor', 'approver']);
const STEERS_ALL: ReadonlySet<Role> = new Set<Role>(['operator', 'admin']);

/** Whose run it is. */
export interface Ownership {
  readonly id: string;
  readonly started_by: string;
  readonly acting_user: string;
}

/** Whether this caller sees every run of their tenant. The others see those they started, and those that act for them. */
export function seesAll(principal: Principal): boolean {
  return principal.roles.some((role) => SEES_ALL.has(role));
}

/** The user this caller is or speaks for. */
export function userOf(principal: Principal): string {
  return principal.onBehalfOf ?? principal.subject;
}

export function owns(principal: Principal, run: Ownership): boolean {
  return run.started_by === principal.subject || run.acting_user === userOf(principal);
}

/** Throws NOT_FOUND where the run is not the caller's to see: it then might as well not exist. */
export function assertSees(principal: Principal, run: Ownership | undefined, id: string): asserts run is Ownership {
  if (run !== undefined && (seesAll(principal) || owns(principal, run))) return;
  throw new StewardError(
    'NOT_FOUND',
    `There is no run ${id} that you may see. Check the id, and the tenant of your token.`,
  );
}

/** Throws ROLE_MISSING where the caller sees the run but may not steer it. */
export function assertSteers(principal: Principal, run: Ownership): void {
  if (principal.roles.some((role) => STEERS_ALL.has(role)) || owns(principal, run)) return;
  throw new StewardError(
    'ROLE_MISSING',
    `Run ${run.id} may be steered by operators, admins, who started it, and the user it acts for.`,
  );
}

/** Throws ROLE_MISSING where the run is neither one the caller started nor one that acts for them. */
export function assertOwns(principal: Principal, run: Ownership): void {
  if (owns(principal, run)) return;
  throw new StewardError(
    'ROLE_MISSING',
    `Only who started run ${run.id}, and the user it acts for, may speak to it. Operators pause or cancel it.`,
  );
}

/** The tenant of the token; a tenant in a request may only agree with it. */
export function tenantOf(principal: Principal, asked = ''): string {
  if (asked === '' || asked === principal.tenant) return principal.tenant;
  throw new StewardError(
    'TENANT_MISMATCH',
    `Your token is for another tenant. Leave the tenant out, or get a token for it.`,
  );
}
