import type { Kysely } from 'kysely';
import type { RefusedCall } from '#platform/grpc/call.ts';
import { audit } from './journal.ts';
import type { Database } from './tables.ts';
import { withTenant } from './tenant.ts';

/** Refusals that are written down per tenant and minute; further ones are counted in the next entry. */
const MOST_A_MINUTE = 30;

/**
 * Writes calls that were refused at the door to the audit log of the caller's own tenant, in a transaction of its own and
 * at best: what fails is logged. A flood is counted, so that nobody fills the log by being refused.
 */
export function refusalLog(
  db: Kysely<Database>,
  log: { warn(fields: object, message: string): void },
): (refused: RefusedCall) => void {
  const seen = new Map<string, { minute: number; written: number; dropped: number }>();
  return ({ tenant, subject, method, code }) => {
    const minute = Math.floor(Date.now() / 60_000);
    const before = seen.get(tenant);
    const now = before?.minute === minute ? before : { minute, written: 0, dropped: before?.dropped ?? 0 };
    if (!before && seen.size >= 10_000) seen.clear();
    seen.set(tenant, now);
    if (now.written >= MOST_A_MINUTE) {
      now.dropped += 1;
      return;
    }
    now.written += 1;
    const data = { method, code, ...(now.dropped > 0 ? { notWritten: now.dropped } : {}) };
    now.dropped = 0;
    withTenant(db, tenant, async (trx) => {
      // A token may name a tenant that is not set up here.
      const known = await trx.selectFrom('tenants').select('id').where('id', '=', tenant).executeTakeFirst();
      if (known) await audit(trx, tenant, { actor: subject, action: 'call.refused', data });
    }).catch((error: unknown) => log.warn({ tenant, method, err: error }, 'a refusal is not in the audit log'));
  };
}
