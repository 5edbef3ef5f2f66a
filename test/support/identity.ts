import { calculateJwkThumbprint, exportJWK, generateKeyPair, type JSONWebKeySet } from 'jose';
import { type PrivateJwk, publicKeySet, toPrivateJwk } from '#platform/identity/key-pair.ts';
import type { Verifier } from '#platform/identity/principal.ts';
import { createVerifier, mintToken, type TokenClaims } from '#platform/identity/tokens.ts';

/** A fresh Ed25519 key, kept in memory only. */
export async function testKey(): Promise<{ readonly key: PrivateJwk; readonly jwks: JSONWebKeySet }> {
  const { privateKey } = await generateKeyPair('EdDSA', { extractable: true });
  const jwk = await exportJWK(privateKey);
  const key = toPrivateJwk({ ...jwk, kid: await calculateJwkThumbprint(jwk) });
  return { key, jwks: publicKeySet(key) };
}

/** An issuer of real tokens with the verifier that accepts them. */
export interface TestIssuer {
  readonly issuer: string;
  readonly audience: string;
  readonly key: PrivateJwk;
  readonly jwks: JSONWebKeySet;
  readonly verifier: Verifier;
  /** A token, good for `ttlSeconds` (default 60; below 0: expired). By default ann, operator of acme. */
  token(claims?: Partial<TokenClaims>, ttlSeconds?: number): Promise<string>;
}

/** Makes an issuer of its own for one test file. */
export async function testIssuer(): Promise<TestIssuer> {
  const { key, jwks } = await testKey();
  const issuer = 'https://issuer.test';
  const audience = 'steward';
  return {
    issuer,
    audience,
    key,
    jwks,
    verifier: createVerifier({ issuer, audience, jwks }),
    token: (claims = {}, ttlSeconds = 60) =>
      mintToken(
        key,
        { issuer, audience, tenant: 'acme', subject: 'ann@acme', roles: ['operator'], ...claims },
        ttlSeconds,
      ),
  };
}
