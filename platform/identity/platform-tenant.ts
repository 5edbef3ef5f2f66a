import { StewardError } from '#domain/errors.ts';
import type { Principal } from './principal.ts';

/** The tenant whose operators run the whole installation, where STEWARD_PLATFORM_TENANT names no other. */
export const PLATFORM_TENANT = 'platform';

/** Whether the caller belongs to the platform tenant: what its roles let them do, they then may for all tenants. */
export function isPlatform(principal: Principal, platformTenant: string): boolean {
  return principal.tenant === platformTenant && principal.tenant !== '';
}

/** Throws NOT_PERMITTED where the caller does not belong to the platform tenant. */
export function assertPlatform(principal: Principal, platformTenant: string): void {
  if (isPlatform(principal, platformTenant)) return;
  throw new StewardError(
    'NOT_PERMITTED',
    'This concerns all tenants: only operators of the platform tenant (STEWARD_PLATFORM_TENANT) may do it.',
  );
}
