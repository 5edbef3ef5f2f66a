import { randomUUID } from 'node:crypto';
import { decodeJwt } from 'jose';
import { z } from 'zod';
import type { ActionRecord } from '#domain/action-record.ts';
import { StewardError } from '#domain/errors.ts';
import { noteIds } from '#platform/telemetry/ids.ts';
import type { PrivateJwk } from './key-pair.ts';
import { type KeySource, openKeySet } from './key-set.ts';
import { LruCache } from './lru-cache.ts';
import { claimsSigner, type Kind, verifyClaims } from './signed-claims.ts';

/** A run may wait for people several times, a week each. */
export const RUN_GRANT_DAYS = 60;
/** Longest life of an execution grant, enforced by whoever signs and by whoever verifies. */
export const EXECUTION_GRANT_MS = 120_000;

const id = z.string().min(1).max(200);
const hash = z.string().regex(/^[0-9a-f]{64}$/, 'is no lower-case hex SHA-256');

const runClaims = z.strictObject({
  tenant: id,
  run: id,
  agent: id,
  agentHash: hash,
  tools: z.record(id, z.array(id).max(200)),
  resources: z.array(id).max(100),
  permissions: z.array(id).max(100),
});

/** What a run may do, and as whom. Tenant and acting user of every guard and catalog call come from here. */
export type RunGrant = Readonly<z.infer<typeof runClaims>> & {
  /** The acting user. */
  readonly user: string;
};

export interface VerifiedRunGrant extends RunGrant {
  readonly id: string;
  readonly issuedAt: Date;
  readonly expiresAt: Date;
}

const RUN_GRANT: Kind<z.infer<typeof runClaims>> = {
  name: 'run grant',
  typ: 'run-grant+jwt',
  issuer: 'steward-run-api',
  claims: runClaims,
  maxLength: 65_536,
  invalid: 'GRANT_INVALID',
  expired: 'GRANT_EXPIRED',
  wrongAudience: 'GRANT_MISMATCH',
};
const RUN_AUDIENCE = 'steward';

export interface Clock {
  readonly now?: () => Date;
}

export interface RunGrantSigner {
  /** Valid from now for `ttlMs` (default 60 days). GRANT_INVALID: a claim is empty, too long, or of no known shape. */
  sign(grant: RunGrant, ttlMs?: number): Promise<string>;
}

/** Signs run grants with run-api's key. */
export function runGrantSigner(key: PrivateJwk, clock: Clock = {}): RunGrantSigner {
  const sign = claimsSigner(RUN_GRANT, key);
  return {
    async sign({ user, ...claims }, ttlMs = RUN_GRANT_DAYS * 86_400_000) {
      const issuedAt = clock.now?.() ?? new Date();
      const expiresAt = new Date(issuedAt.getTime() + ttlMs);
      return await sign(claims, { audience: RUN_AUDIENCE, subject: user, id: randomUUID(), issuedAt, expiresAt });
    },
  };
}

export interface RunGrantVerifier {
  /**
   * GRANT_INVALID, GRANT_EXPIRED, GRANT_MISMATCH (another audience); UNAVAILABLE where the keys cannot be had.
   * `expired`: one that has expired counts too, for what ends a run and lets nothing begin.
   */
  verify(token: string, options?: { readonly expired?: boolean }): Promise<VerifiedRunGrant>;
}

const CACHED = 1_000;
/** So that a key taken out of the set stops counting soon. */
const CACHED_MS = 60_000;

/** Verifies run grants; keeps the last 1,000 verified ones for a minute, since every call of a run carries the same. */
export function runGrantVerifier(keys: KeySource, clock: Clock = {}): RunGrantVerifier {
  const keySet = openKeySet(keys);
  const cache = new LruCache<string, { readonly grant: VerifiedRunGrant; readonly until: number }>(CACHED);
  return {
    async verify(token, { expired = false } = {}) {
      const time = clock.now?.() ?? new Date();
      const now = expired ? whileItLived(token, time) : time;
      const known = cache.get(token);
      if (known !== undefined && now.getTime() < known.until) return noted(known.grant);
      const [claims, standing] = await verifyClaims(RUN_GRANT, keySet, token, RUN_AUDIENCE, now);
      const { subject, id: grantId, issuedAt, expiresAt } = standing;
      const grant: VerifiedRunGrant = { ...claims, user: subject, id: grantId, issuedAt, expiresAt };
      cache.set(token, { grant, until: Math.min(now.getTime() + CACHED_MS, expiresAt.getTime()) });
      return noted(grant);
    },
  };
}

/** The time, or where a token has expired by then, a moment before it did. What it says is verified all the same. */
function whileItLived(token: string, now: Date): Date {
  try {
    const { exp } = decodeJwt(token);
    return typeof exp === 'number' && exp * 1_000 <= now.getTime() ? new Date((exp - 1) * 1_000) : now;
  } catch {
    return now;
  }
}

/** Lines of the log are about the run whose grant was shown. */
function noted(grant: VerifiedRunGrant): VerifiedRunGrant {
  noteIds({ tenant: grant.tenant, run: grant.run });
  return grant;
}

const executionClaims = z.strictObject({
  tenant: id,
  run: id,
  call: id,
  key: id,
  digest: hash,
  tool: id,
  attempt: z.int().min(1).max(1_000_000),
  // What the effect may spend at most, by quantity: what was judged, approved and reserved.
  most: z.record(id, z.int().min(0)).optional(),
});

/** Leave to carry out one attempt of one exact call. */
export type ExecutionGrant = Readonly<z.infer<typeof executionClaims>> & {
  /** The catalog it is for. */
  readonly catalog: string;
};

export interface VerifiedExecutionGrant extends ExecutionGrant {
  /** Recorded by the catalog in the effect's transaction: one id, one key. */
  readonly id: string;
  readonly issuedAt: Date;
  readonly expiresAt: Date;
}

const EXECUTION_GRANT: Kind<z.infer<typeof executionClaims>> = {
  name: 'execution grant',
  typ: 'execution-grant+jwt',
  issuer: 'steward-guard',
  claims: executionClaims,
  maxLength: 4_096,
  invalid: 'GRANT_INVALID',
  expired: 'GRANT_EXPIRED',
  wrongAudience: 'GRANT_MISMATCH',
};

export interface SignedGrant {
  readonly token: string;
  readonly id: string;
  readonly expiresAt: Date;
}

export interface ExecutionGrantSigner {
  /** Valid from now for `ttlMs` (default and most: 2 min). GRANT_INVALID: a claim or the time is out of its range. */
  sign(grant: ExecutionGrant, ttlMs?: number): Promise<SignedGrant>;
}

/** Signs execution grants with the guard's key. */
export function executionGrantSigner(key: PrivateJwk, clock: Clock = {}): ExecutionGrantSigner {
  const sign = claimsSigner(EXECUTION_GRANT, key);
  return {
    async sign({ catalog, ...claims }, ttlMs = EXECUTION_GRANT_MS) {
      if (!(ttlMs > 0 && ttlMs <= EXECUTION_GRANT_MS)) {
        throw new StewardError('GRANT_INVALID', `An execution grant lives for at most ${EXECUTION_GRANT_MS} ms.`);
      }
      const issuedAt = new Date(Math.floor((clock.now?.() ?? new Date()).getTime() / 1000) * 1000);
      const expiresAt = new Date(issuedAt.getTime() + Math.max(1_000, Math.floor(ttlMs / 1000) * 1000));
      const grantId = randomUUID();
      const standing = { audience: catalog, subject: claims.run, id: grantId, issuedAt, expiresAt };
      return { token: await sign(claims, standing), id: grantId, expiresAt };
    },
  };
}

export interface ExecutionGrantVerifier {
  /** GRANT_INVALID (also where it was made to live longer than 2 min), GRANT_EXPIRED, GRANT_MISMATCH (another
   * catalog's); UNAVAILABLE where the keys cannot be had. */
  verify(token: string): Promise<VerifiedExecutionGrant>;
}

/** Verifies execution grants for one catalog. Never cached: a grant is used once. */
export function executionGrantVerifier(keys: KeySource, catalog: string, clock: Clock = {}): ExecutionGrantVerifier {
  const keySet = openKeySet(keys);
  return {
    async verify(token) {
      const now = clock.now?.() ?? new Date();
      const [claims, standing] = await verifyClaims(EXECUTION_GRANT, keySet, token, catalog, now);
      const { id: grantId, issuedAt, expiresAt } = standing;
      if (expiresAt.getTime() - issuedAt.getTime() > EXECUTION_GRANT_MS) {
        throw new StewardError('GRANT_INVALID', 'The execution grant was made to live too long.');
      }
      noteIds({ call: claims.call });
      return { ...claims, catalog, id: grantId, issuedAt, expiresAt };
    },
  };
}

/** Refuses a grant that is not for exactly this action record: GRANT_MISMATCH naming what differs. */
export function assertGrantCovers(grant: ExecutionGrant, record: ActionRecord, digest: string): void {
  const pairs: readonly (readonly [string, string, string])[] = [
    ['tenant', grant.tenant, record.tenant],
    ['run', grant.run, record.run],
    ['call', grant.call, record.call],
    ['key', grant.key, record.key],
    ['catalog', grant.catalog, record.catalog],
    ['tool', grant.tool, record.tool],
    ['digest', grant.digest, digest],
  ];
  for (const [field, granted, actual] of pairs) {
    if (granted === actual) continue;
    throw new StewardError('GRANT_MISMATCH', `The execution grant is for another ${field}.`, { details: { field } });
  }
}
