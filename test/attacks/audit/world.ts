import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AnchorStore, anchorDirectory, readAnchors } from '#platform/audit/anchors.ts';
import { CHAIN_RULES, type ChainRules, GENESIS, leafHash } from '#platform/audit/chain.ts';
import { type Verified, verifyChain } from '#platform/audit/verify.ts';
import { readChain } from '#platform/database/audit-chain.ts';
import { anchorTenant, sealTenant } from '#platform/database/audit-sealer.ts';
import { connect } from '#platform/database/connect.ts';
import { audit } from '#platform/database/journal.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import { createKeyPair, type KeyPair } from '#platform/identity/key-pair.ts';
import { type StewardDatabase, stewardDatabase } from '#test/support/steward-database.ts';
import type { AuditOptions } from './options.ts';

/** What the sabotage `chain` switches off: an entry's hash and place know nothing of the one before. */
const UNLINKED: ChainRules = { leaf: (leaf) => leafHash({ ...leaf, prev: GENESIS }), follows: () => true };

/** A database with the sealer and verifier of Steward, and an attacker's superuser connection. */
export interface AuditWorld {
  readonly database: StewardDatabase;
  readonly directory: string;
  readonly key: KeyPair;
  readonly rules: ChainRules;
  /** A new tenant with a chain, with an anchor in the middle and one at its end. */
  chain(length: number): Promise<string>;
  seal(tenant: string): Promise<void>;
  /** The worker looks whether the head is to be signed. */
  anchor(tenant: string): Promise<void>;
  verify(tenant: string): Promise<Verified>;
  close(): Promise<void>;
}

export async function auditWorld({ sabotage }: Pick<AuditOptions, 'sabotage'>): Promise<AuditWorld> {
  const rules = sabotage === 'chain' ? UNLINKED : CHAIN_RULES;
  const database = await stewardDatabase();
  const directory = await mkdtemp(join(tmpdir(), 'steward-attack-audit-'));
  const key = await createKeyPair(directory, 'audit');
  const store: AnchorStore = anchorDirectory(join(directory, 'anchors'));
  const pool = connect<Database>(await database.urlAs('steward_worker'), { max: 8, name: 'attack-audit' });
  const anchoring = { db: pool.db, store, key: key.privateJwk };

  const seal = async (tenant: string): Promise<void> => {
    // Bounded by what is there: nothing is added meanwhile.
    while ((await sealTenant({ db: pool.db, rules }, tenant)).more);
  };
  const say = async (tenant: string, from: number, to: number): Promise<void> => {
    await withTenant(pool.db, tenant, async (trx) => {
      for (let at = from; at <= to; at += 1) {
        const data = { amount: at * 100, to: `customer ${at}` };
        await audit(trx, tenant, { actor: `person ${at % 7}`, action: 'call.effect', tool: 'refund', data });
      }
    });
    await seal(tenant);
    await anchorTenant(anchoring, tenant, { every: 1 });
  };

  return {
    database,
    directory,
    key,
    rules,
    seal,
    async chain(length) {
      const tenant = await database.tenant();
      await say(tenant, 1, Math.floor(length / 2));
      await say(tenant, Math.floor(length / 2) + 1, length);
      return tenant;
    },
    async anchor(tenant) {
      // It may well refuse to.
      await anchorTenant(anchoring, tenant, { every: 1 }).catch(() => undefined);
    },
    async verify(tenant) {
      const lines = sabotage === 'anchor' ? [] : await store.read(tenant);
      const { anchors } = readAnchors(lines, key.jwks, tenant);
      return verifyChain(tenant, readChain(pool.db, tenant), anchors, rules);
    },
    async close() {
      await pool.close();
      await database.drop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}
