import { isStewardError } from '#domain/errors.ts';
import { audit } from '#platform/database/journal.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { Principal } from '#platform/identity/principal.ts';
import type { GuardDeps } from '../deps.ts';
import { type Place, readPlace } from './requests.ts';

/** As `readPlace`; that somebody asked for what is not theirs is written to their own tenant's audit log. */
export async function place(
  deps: GuardDeps,
  principal: Principal,
  request: Parameters<typeof readPlace>[2],
  action: string,
): Promise<Place> {
  try {
    return readPlace(principal, deps.platformTenant, request);
  } catch (error) {
    if (isStewardError(error) && error.code === 'NOT_PERMITTED') {
      const data = { action, scope: request.scope, code: error.code };
      await withTenant(deps.db, principal.tenant, (trx) =>
        audit(trx, principal.tenant, { actor: principal.subject, action: 'switch.refused', data }),
      );
    }
    throw error;
  }
}
