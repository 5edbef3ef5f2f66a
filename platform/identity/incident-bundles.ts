import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { PrivateJwk } from './key-pair.ts';
import { type KeySource, openKeySet } from './key-set.ts';
import { claimsSigner, type Kind, verifyClaims } from './signed-claims.ts';

const claims = z.strictObject({
  tenant: z.string().min(1).max(200),
  run: z.string().min(1).max(200),
  digest: z.string().regex(/^[0-9a-f]{64}$/, 'is no lower-case hex SHA-256'),
  lines: z.int().min(1),
});

/** What is signed of a bundle: whose it is, and all of its bytes. */
export type BundleClaims = Readonly<z.infer<typeof claims>>;

const BUNDLE: Kind<BundleClaims> = {
  name: 'signature of the bundle',
  typ: 'incident-bundle+jwt',
  issuer: 'steward-run-api',
  claims,
  maxLength: 4_096,
  invalid: 'GRANT_INVALID',
  expired: 'GRANT_EXPIRED',
  wrongAudience: 'GRANT_MISMATCH',
};
const AUDIENCE = 'steward-incident';
/** Evidence does not go stale. */
const YEARS_MS = 30 * 365 * 86_400_000;

export type BundleSigner = (bundle: BundleClaims, takenBy: string) => Promise<string>;

/** Signs bundles with run-api's key. */
export function bundleSigner(key: PrivateJwk): BundleSigner {
  const sign = claimsSigner(BUNDLE, key);
  return (bundle, takenBy) => {
    const issuedAt = new Date();
    const expiresAt = new Date(issuedAt.getTime() + YEARS_MS);
    return sign(bundle, { audience: AUDIENCE, subject: takenBy, id: randomUUID(), issuedAt, expiresAt });
  };
}

/** What a signature stands for. GRANT_INVALID: it is no signature of a bundle by one of these keys. */
export async function verifyBundle(
  keys: KeySource,
  signature: string,
): Promise<BundleClaims & { readonly takenBy: string; readonly takenAt: Date }> {
  const [own, { subject, issuedAt }] = await verifyClaims(BUNDLE, openKeySet(keys), signature, AUDIENCE, new Date());
  return { ...own, takenBy: subject, takenAt: issuedAt };
}
