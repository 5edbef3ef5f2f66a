import { errors, importJWK, type JWTPayload, type JWTVerifyGetKey, jwtVerify, SignJWT } from 'jose';
import { z } from 'zod';
import { type ErrorCode, isStewardError, StewardError } from '#domain/errors.ts';
import { type PrivateJwk, toPrivateJwk } from './key-pair.ts';
import { CLOCK_TOLERANCE_S } from './tokens.ts';

/**
 * Seconds by which the signer's clock may be ahead. The signature says who has made a claim; that it seems to come from
 * the future says only that clocks differ, and refusing it would end runs. What has expired is refused all the same.
 */
const EARLY_S = 90;

/** One kind of JWT that Steward signs for itself: its type keeps it from standing in for any other kind. */
export interface Kind<Claims> {
  /** What messages call it: `run grant`. */
  readonly name: string;
  readonly typ: string;
  readonly issuer: string;
  readonly claims: z.ZodType<Claims>;
  readonly maxLength: number;
  /** Code of every fault but the two below. */
  readonly invalid: ErrorCode;
  readonly expired: ErrorCode;
  readonly wrongAudience: ErrorCode;
}

export interface Standing {
  readonly audience: string;
  readonly subject: string;
  readonly id: string;
  readonly issuedAt: Date;
  readonly expiresAt: Date;
}

const standingFields = z.object({
  audience: z.string().min(1).max(200),
  subject: z.string().min(1).max(200),
  id: z.string().min(1).max(200),
  issuedAt: z.date(),
  expiresAt: z.date(),
});

const seconds = (date: Date): number => Math.floor(date.getTime() / 1000);

function parse<T>(kind: Kind<unknown>, shape: z.ZodType<T>, value: unknown): T {
  const parsed = shape.safeParse(value);
  if (parsed.success) return parsed.data;
  const fault = parsed.error.issues[0];
  throw new StewardError(
    kind.invalid,
    `The ${kind.name} is not valid: ${fault?.path.join('.') || 'claims'}: ${fault?.message ?? 'wrong'}.`,
  );
}

/** Signs claims of one kind with an Ed25519 key. Throws the kind's codes where they do not fit the kind or are past. */
export function claimsSigner<Claims extends object>(kind: Kind<Claims>, privateJwk: PrivateJwk) {
  const jwk = toPrivateJwk(privateJwk);
  const key = importJWK(jwk, 'EdDSA');
  key.catch(() => {});
  return async (claims: Claims, standing: Standing): Promise<string> => {
    parse(kind, standingFields, standing);
    if (standing.expiresAt <= standing.issuedAt) {
      throw new StewardError(kind.expired, `The ${kind.name} would have expired already.`);
    }
    const payload: JWTPayload = Object.fromEntries(Object.entries(parse(kind, kind.claims, claims)));
    const token = await new SignJWT(payload)
      .setProtectedHeader({ alg: 'EdDSA', typ: kind.typ, kid: jwk.kid })
      .setIssuer(kind.issuer)
      .setAudience(standing.audience)
      .setSubject(standing.subject)
      .setJti(standing.id)
      .setIssuedAt(seconds(standing.issuedAt))
      .setExpirationTime(seconds(standing.expiresAt))
      .sign(await key);
    if (token.length <= kind.maxLength) return token;
    throw new StewardError(kind.invalid, `The ${kind.name} has more than ${kind.maxLength} characters.`);
  };
}

function explain(kind: Kind<unknown>, error: unknown): StewardError {
  if (isStewardError(error)) return error;
  const fail = (code: ErrorCode, why: string): StewardError =>
    new StewardError(code, `The ${kind.name} ${why}.`, { cause: error });
  if (error instanceof errors.JWTExpired) return fail(kind.expired, 'has expired');
  if (error instanceof errors.JWTClaimValidationFailed && error.claim === 'aud') {
    return fail(kind.wrongAudience, 'is for someone else');
  }
  return fail(kind.invalid, 'is not valid');
}

function standingOf(kind: Kind<unknown>, payload: JWTPayload, now: Date): Standing {
  const { aud, sub, jti, iat, exp } = payload;
  // The required claims are there; these checks are for their types, which jose leaves open.
  if (typeof aud !== 'string' || typeof sub !== 'string' || sub === '' || typeof jti !== 'string' || jti === '') {
    throw new StewardError(kind.invalid, `The ${kind.name} is not valid: aud, sub or jti.`);
  }
  if (typeof iat !== 'number' || typeof exp !== 'number' || iat > seconds(now) + EARLY_S || exp < iat) {
    throw new StewardError(kind.invalid, `The ${kind.name} is not valid: iat or exp.`);
  }
  return { audience: aud, subject: sub, id: jti, issuedAt: new Date(iat * 1000), expiresAt: new Date(exp * 1000) };
}

const REGISTERED: ReadonlySet<string> = new Set(['iss', 'aud', 'sub', 'jti', 'iat', 'exp']);

/**
 * Verifies one kind: EdDSA only, type, issuer, audience, expiry with 5 s of tolerance, issue with 90 s, and claims that
 * fit exactly.
 * Throws the kind's codes; UNAVAILABLE where the keys cannot be had.
 */
export async function verifyClaims<Claims>(
  kind: Kind<Claims>,
  keys: JWTVerifyGetKey,
  token: string,
  audience: string,
  now: Date,
): Promise<readonly [Claims, Standing]> {
  if (token === '') throw new StewardError(kind.invalid, `The ${kind.name} is missing.`);
  if (token.length > kind.maxLength) throw new StewardError(kind.invalid, `The ${kind.name} is too long.`);
  let payload: JWTPayload;
  try {
    const verified = await jwtVerify(token, keys, {
      algorithms: ['EdDSA'],
      typ: kind.typ,
      issuer: kind.issuer,
      audience,
      requiredClaims: ['sub', 'jti', 'iat', 'exp'],
      clockTolerance: CLOCK_TOLERANCE_S,
      currentDate: now,
    });
    payload = verified.payload;
  } catch (error) {
    throw explain(kind, error);
  }
  const own = Object.fromEntries(Object.entries(payload).filter(([key]) => !REGISTERED.has(key)));
  return [parse(kind, kind.claims, own), standingOf(kind, payload, now)];
}
