import { setTimeout as sleep } from 'node:timers/promises';
import { listTenants, withTenant } from '#platform/database/tenant.ts';
import type { GuardDeps } from '../deps.ts';
import { tellRuns } from './tell.ts';

/** So often what a kill left is looked for; a kill under way has so long until another guard goes on with it. */
const EVERY_MS = 2_000;
const LEFT_AFTER_MS = 5_000;
const MOST = 20;

/**
 * Goes on with kills whose runs were not all told: the guard that was at it has ended, or a run could not be reached.
 * Telling twice changes nothing, so several guards may be at it. Ends with `signal`.
 */
export async function sweepSwitches(deps: GuardDeps, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await sleep(EVERY_MS, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return;
    try {
      await sweepOnce(deps, signal);
    } catch (error) {
      deps.log.warn({ err: error }, 'unfinished kill switches are looked for again');
    }
  }
}

/** One look through all tenants. */
export async function sweepOnce(deps: GuardDeps, signal: AbortSignal, leftAfterMs = LEFT_AFTER_MS): Promise<void> {
  // The platform tenant need not be a tenant with runs.
  for (const tenant of new Set([...(await listTenants(deps.db)), deps.platformTenant])) {
    if (signal.aborted) return;
    const left = await withTenant(deps.db, tenant, (trx) =>
      trx
        .selectFrom('kill_switches')
        .selectAll()
        .where('tenant', '=', tenant)
        .where('mode', '=', 'kill')
        .where('told_at', 'is', null)
        .where('lifted_at', 'is', null)
        .where('set_at', '<', new Date(Date.now() - leftAfterMs))
        .limit(MOST)
        .execute(),
    );
    for (const one of left) if (!signal.aborted) await tellRuns(deps, one);
  }
}
