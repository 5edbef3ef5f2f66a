import type { Principal, Role } from '#platform/identity/principal.ts';

/** Roles that see every approval of their tenant. The others see those of their own runs. */
const SEES_ALL: ReadonlySet<Role> = new Set<Role>(['approver', 'operator', 'admin', 'auditor']);

export function seesAll(person: Principal): boolean {
  return person.roles.some((role) => SEES_ALL.has(role));
}

/** Whether this caller may see approvals of this run. */
export function maySee(person: Principal, run: { readonly started_by: string; readonly acting_user: string }): boolean {
  return seesAll(person) || run.started_by === person.subject || run.acting_user === person.subject;
}
