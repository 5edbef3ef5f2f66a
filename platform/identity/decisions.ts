import { z } from 'zod';
import type { Clock } from './grants.ts';
import type { PrivateJwk } from './key-pair.ts';
import { type KeySource, openKeySet } from './key-set.ts';
import { ROLES } from './principal.ts';
import { claimsSigner, type Kind, verifyClaims } from './signed-claims.ts';

const id = z.string().min(1).max(200);

const claims = z.strictObject({
  tenant: id,
  run: id,
  call: id,
  approval: id,
  digest: z.string().regex(/^[0-9a-f]{64}$/, 'is no lower-case hex SHA-256'),
  answer: z.enum(['approve', 'deny']),
  reason: z.string().max(1_000),
  roles: z.array(z.enum(ROLES)).min(1).max(ROLES.length),
});

/** One person's answer to one approval, about one exact call. */
export type SignedDecision = Readonly<z.infer<typeof claims>> & {
  readonly id: string;
  /** The subject of the token that was shown. */
  readonly decidedBy: string;
  /** When the approval expires, and with it this answer. */
  readonly expiresAt: Date;
};

const DECISION: Kind<z.infer<typeof claims>> = {
  name: 'decision',
  typ: 'decision+jwt',
  issuer: 'steward-guard',
  claims,
  maxLength: 8_192,
  invalid: 'DECISION_FORGED',
  expired: 'APPROVAL_EXPIRED',
  wrongAudience: 'DECISION_FORGED',
};
const AUDIENCE = 'steward-guard';

export interface DecisionSigner {
  /** DECISION_FORGED: a claim is empty, too long, or of no known shape. */
  sign(decision: SignedDecision): Promise<string>;
}

/** Signs decisions with the guard's key. */
export function decisionSigner(key: PrivateJwk, clock: Clock = {}): DecisionSigner {
  const sign = claimsSigner(DECISION, key);
  return {
    async sign({ id: decisionId, decidedBy, expiresAt, ...own }) {
      const issuedAt = clock.now?.() ?? new Date();
      return await sign(own, { audience: AUDIENCE, subject: decidedBy, id: decisionId, issuedAt, expiresAt });
    },
  };
}

export interface DecisionVerifier {
  /** DECISION_FORGED; APPROVAL_EXPIRED where it is genuine and late; UNAVAILABLE where the keys cannot be had. */
  verify(token: string): Promise<SignedDecision & { readonly issuedAt: Date }>;
}

/** Verifies decisions. Whether one fits the approval at hand is for the guard to compare. */
export function decisionVerifier(keys: KeySource, clock: Clock = {}): DecisionVerifier {
  const keySet = openKeySet(keys);
  return {
    async verify(token) {
      const [own, standing] = await verifyClaims(DECISION, keySet, token, AUDIENCE, clock.now?.() ?? new Date());
      const { subject, id: decisionId, issuedAt, expiresAt } = standing;
      return { ...own, id: decisionId, decidedBy: subject, issuedAt, expiresAt };
    },
  };
}
