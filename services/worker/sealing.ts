import { setTimeout as sleep } from 'node:timers/promises';
import type { Kysely } from 'kysely';
import { type AnchorStore, anchorDirectory } from '#platform/audit/anchors.ts';
import { pruneTenant } from '#platform/database/audit-retention.ts';
import { anchorTenant, sealTenant } from '#platform/database/audit-sealer.ts';
import type { Database } from '#platform/database/tables.ts';
import { listTenants } from '#platform/database/tenant.ts';
import { type PrivateJwk, readPrivateKey } from '#platform/identity/key-pair.ts';

/** Between two rounds over all tenants. */
const PAUSE_MS = 300;
/** Batches of one tenant per round: one that writes much does not hold up the others. */
const BATCHES = 10;
/** Batches that one tenant lets go of at a time: 40,000 entries in five minutes. */
const PRUNE_BATCHES = 20;
/** Heads are looked at each so many rounds where nothing was sealed. */
const ANCHOR_ROUNDS = 20;
/** What has outlived its tier is looked for so often. */
const PRUNE_EVERY_MS = 5 * 60_000;
/** What stands unsealed longer is told. */
const LATE_MS = 5_000;

export interface SealingDeps {
  readonly db: Kysely<Database>;
  readonly log: { warn(fields: object, message: string): void };
  /** Null: heads are not anchored, and a cut tail or a rewritten chain cannot be seen. */
  readonly anchors: { readonly store: AnchorStore; readonly key: PrivateJwk } | null;
}

/** Where heads are anchored, from a file with a private key and a directory. Null where neither is named. */
export async function anchoringFrom(keyFile?: string, directory?: string): Promise<SealingDeps['anchors']> {
  if (keyFile === undefined || directory === undefined) return null;
  return { store: anchorDirectory(directory), key: await readPrivateKey(keyFile) };
}

/**
 * Seals the audit logs of all tenants, round after round, until stopped. Any number of workers may do so at once. What
 * fails for one tenant is logged and tried again in the next round.
 */
export function startSealing(deps: SealingDeps): { stop(): Promise<void> } {
  const stopped = new AbortController();
  if (deps.anchors === null)
    deps.log.warn({}, 'audit heads are not anchored: name STEWARD_AUDIT_KEY_FILE and _ANCHORS');
  const running = (async () => {
    let prunedAt = Number.NEGATIVE_INFINITY;
    for (let round = 0; !stopped.signal.aborted; round += 1) {
      const prune = performance.now() - prunedAt >= PRUNE_EVERY_MS;
      if (prune) prunedAt = performance.now();
      try {
        for (const tenant of await listTenants(deps.db)) {
          if (stopped.signal.aborted) break;
          await sealOne(deps, tenant, round, prune);
        }
      } catch (error) {
        deps.log.warn({ err: error }, 'the audit log is sealed later');
      }
      await sleep(PAUSE_MS, undefined, { signal: stopped.signal }).catch(() => undefined);
    }
  })();
  return {
    async stop() {
      stopped.abort();
      await running;
    },
  };
}

async function sealOne(deps: SealingDeps, tenant: string, round: number, prune: boolean): Promise<void> {
  try {
    let any = false;
    for (let batch = 0; batch < BATCHES; batch += 1) {
      const { sealed, more, ageMs } = await sealTenant(deps, tenant);
      if (ageMs > LATE_MS) deps.log.warn({ tenant, ageMs, sealed }, 'audit entries stood unsealed for long');
      any ||= sealed > 0;
      if (!more) break;
    }
    if (deps.anchors && (any || round % ANCHOR_ROUNDS === 0))
      await anchorTenant({ db: deps.db, ...deps.anchors }, tenant);
    // Nothing is let go of without a signed statement elsewhere.
    if (deps.anchors && prune) {
      for (let batch = 0; batch < PRUNE_BATCHES; batch += 1) {
        if ((await pruneTenant({ db: deps.db, ...deps.anchors }, tenant)) === 0) break;
      }
    }
  } catch (error) {
    deps.log.warn({ tenant, err: error }, "a tenant's audit log is sealed later");
  }
}
