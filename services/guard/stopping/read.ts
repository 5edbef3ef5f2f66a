import { StewardError } from '#domain/errors.ts';
import { listTenants, withTenant } from '#platform/database/tenant.ts';
import { isPlatform } from '#platform/identity/platform-tenant.ts';
import type { Principal } from '#platform/identity/principal.ts';
import type { GuardDeps } from '../deps.ts';
import type { SwitchRow } from './message.ts';
import { find } from './switches.ts';

/** The switch, where it is the caller's tenant's or the product's; people of the platform tenant find all of them. */
export async function readSwitch(deps: GuardDeps, principal: Principal, id: string): Promise<SwitchRow> {
  const own = await withTenant(deps.db, principal.tenant, (trx) => find(trx, id));
  if (own) return own;
  if (isPlatform(principal, deps.platformTenant)) {
    for (const tenant of await listTenants(deps.db)) {
      const row = await withTenant(deps.db, tenant, (trx) => find(trx, id));
      if (row) return row;
    }
  }
  throw new StewardError('NOT_FOUND', `There is no switch ${id}.`);
}
