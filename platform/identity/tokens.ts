import { errors, importJWK, type JWTPayload, type JWTVerifyGetKey, jwtVerify, SignJWT } from 'jose';
import { z } from 'zod';
import { isStewardError, StewardError } from '#domain/errors.ts';
import type { PrivateJwk } from './key-pair.ts';
import { type KeySource, openKeySet } from './key-set.ts';
import { LruCache } from './lru-cache.ts';
import { type Principal, ROLES, type Role, type Verifier } from './principal.ts';

/** Seconds by which clocks may differ. */
export const CLOCK_TOLERANCE_S = 5;

const ALGORITHMS = ['EdDSA', 'RS256', 'ES256'];
const LONGEST_TOKEN = 16_384;
const CACHED = 1_000;
/** So that a key taken out of the set stops counting soon. */
const CACHED_MS = 60_000;
/** What issuers call access tokens. Grants and decisions have types of their own and are no tokens. */
const TYPES: readonly unknown[] = [undefined, 'jwt', 'at+jwt'];

const name = (max: number) =>
  z
    .string()
    .min(1)
    .max(max)
    .regex(/^\P{Cc}*$/u, 'has control characters');

const claims = z.object({
  sub: name(200),
  tenant: z.union([z.literal(''), name(100)]).optional(),
  roles: z.array(z.enum(ROLES)).min(1).max(ROLES.length),
  on_behalf_of: name(200).optional(),
  permissions: z.array(name(100)).max(500).optional(),
  exp: z.number(),
});

export interface VerifierOptions {
  readonly issuer: string;
  readonly audience: string;
  readonly jwks: KeySource;
  readonly now?: () => Date;
}

function refuse(why: string, cause?: unknown): StewardError {
  return new StewardError('TOKEN_INVALID', `The token is not valid: ${why}.`, cause === undefined ? {} : { cause });
}

function explain(error: unknown): StewardError {
  if (isStewardError(error)) return error;
  if (error instanceof errors.JWTExpired) {
    return new StewardError('TOKEN_EXPIRED', 'The token has expired. Get a new one.', { cause: error });
  }
  if (error instanceof errors.JWTClaimValidationFailed) {
    if (error.claim === 'aud') {
      return new StewardError('TOKEN_WRONG_AUDIENCE', 'The token is for another audience. Get one for Steward.', {
        cause: error,
      });
    }
    return refuse(`its ${error.claim} is missing or wrong`, error);
  }
  if (error instanceof errors.JWKSNoMatchingKey) return refuse('no known key has signed it', error);
  if (error instanceof errors.JOSEAlgNotAllowed) return refuse('its algorithm is not accepted', error);
  if (error instanceof errors.JWSSignatureVerificationFailed) return refuse('its signature does not fit', error);
  return refuse('it is no JWT that can be read', error);
}

function toPrincipal(payload: JWTPayload): Principal {
  const parsed = claims.safeParse(payload);
  if (!parsed.success) {
    const fault = parsed.error.issues[0];
    throw refuse(`claim ${fault?.path.join('.') || '?'}: ${fault?.message ?? 'wrong'}`);
  }
  const { sub, tenant = '', roles, on_behalf_of: onBehalfOf = null, permissions, exp } = parsed.data;
  if (tenant === '' && roles.some((role) => role !== 'worker')) throw refuse('it names no tenant');
  if (onBehalfOf !== null && !roles.includes('service')) {
    throw refuse('only tokens with the role service may act on behalf of a user');
  }
  const known = permissions === undefined ? {} : { permissions: [...new Set(permissions)] };
  return { tenant, subject: sub, roles: [...new Set(roles)], onBehalfOf, expiresAt: new Date(exp * 1000), ...known };
}

async function verifyToken(token: string, options: VerifierOptions, keys: JWTVerifyGetKey): Promise<Principal> {
  if (token === '') {
    throw new StewardError('TOKEN_MISSING', "Send a token: metadata 'authorization' with 'Bearer' and the token.");
  }
  if (token.length > LONGEST_TOKEN) throw refuse(`it is longer than ${LONGEST_TOKEN} characters`);
  const { payload, protectedHeader } = await jwtVerify(token, keys, {
    issuer: options.issuer,
    audience: options.audience,
    algorithms: ALGORITHMS,
    requiredClaims: ['exp', 'sub'],
    clockTolerance: CLOCK_TOLERANCE_S,
    currentDate: options.now?.() ?? new Date(),
  });
  const type = protectedHeader.typ?.toLowerCase().replace(/^application\//, '');
  if (!TYPES.includes(type)) throw refuse(`a ${type} is no access token`);
  return toPrincipal(payload);
}

/**
 * Verifies bearer JWTs: signature by a key of the set (EdDSA, RS256, ES256 only), issuer, audience, expiry (5 s of
 * tolerance), and the claims `sub`, `tenant`, `roles`, `on_behalf_of`, `permissions`. Keeps the last 1,000 good ones for a
 * minute, since callers send the same one many times.
 */
export function createVerifier(options: VerifierOptions): Verifier {
  const keys = openKeySet(options.jwks);
  const cache = new LruCache<string, { readonly principal: Principal; readonly until: number }>(CACHED);
  return {
    async verify(token = '') {
      const now = (options.now?.() ?? new Date()).getTime();
      const known = cache.get(token);
      if (known !== undefined && now < known.until) return known.principal;
      try {
        const principal = await verifyToken(token, options, keys);
        cache.set(token, { principal, until: Math.min(now + CACHED_MS, principal.expiresAt.getTime()) });
        return principal;
      } catch (error) {
        throw explain(error);
      }
    },
  };
}

export interface TokenClaims {
  readonly issuer: string;
  readonly audience: string;
  /** Empty for workers only. */
  readonly tenant: string;
  readonly subject: string;
  readonly roles: readonly Role[];
  readonly onBehalfOf?: string;
  /** Left out: the token says nothing of permissions. */
  readonly permissions?: readonly string[];
}

/** Signs a token for local use, valid from now on. Whether the claims are acceptable is the verifier's affair. */
export async function mintToken(key: PrivateJwk, token: TokenClaims, ttlSeconds: number): Promise<string> {
  const issuedAt = Math.floor(Date.now() / 1000);
  const onBehalfOf = token.onBehalfOf === undefined ? {} : { on_behalf_of: token.onBehalfOf };
  const permissions = token.permissions === undefined ? {} : { permissions: [...token.permissions] };
  return await new SignJWT({ tenant: token.tenant, roles: [...token.roles], ...onBehalfOf, ...permissions })
    .setProtectedHeader({ alg: 'EdDSA', kid: key.kid, typ: 'at+jwt' })
    .setIssuer(token.issuer)
    .setAudience(token.audience)
    .setSubject(token.subject)
    .setIssuedAt(issuedAt)
    .setExpirationTime(issuedAt + Math.floor(ttlSeconds))
    .sign(await importJWK(key, 'EdDSA'));
}
