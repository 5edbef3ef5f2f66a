import { createHmac } from 'node:crypto';
import { expect, test } from '@jest/globals';
import { exportJWK, exportSPKI, generateKeyPair, importJWK, SignJWT } from 'jose';
import type { ErrorCode } from '#domain/errors.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { testIssuer, testKey } from '#test/support/identity.ts';
import { runGrantSigner } from './grants.ts';
import { createVerifier } from './tokens.ts';

const issuer = await testIssuer();
const { verifier, audience, key } = issuer;
const iss = issuer.issuer;

const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A token signed by the right key, with anything in it. */
async function custom(
  claims: Record<string, unknown>,
  header: Record<string, unknown> = {},
  omit: readonly string[] = [],
): Promise<string> {
  const now = Math.floor(Date.now() / 1000);
  const all = {
    iss,
    aud: audience,
    sub: 'ann',
    tenant: 'acme',
    roles: ['operator'],
    iat: now,
    exp: now + 60,
    ...claims,
  };
  const payload = Object.fromEntries(Object.entries(all).filter(([name]) => !omit.includes(name)));
  return await new SignJWT(payload)
    .setProtectedHeader({ alg: 'EdDSA', kid: key.kid, ...header })
    .sign(await importJWK(key, 'EdDSA'));
}

async function codeOf(token: string | undefined): Promise<ErrorCode> {
  return (await stewardErrorOf(verifier.verify(token))).code;
}

test('a good token gives its principal', async () => {
  const token = await issuer.token({ subject: 'shop', roles: ['service', 'auditor', 'service'], onBehalfOf: 'bob' });
  const principal = await verifier.verify(token);
  expect(principal).toMatchObject({
    tenant: 'acme',
    subject: 'shop',
    roles: ['service', 'auditor'],
    onBehalfOf: 'bob',
  });
  expect(principal.expiresAt.getTime()).toBeGreaterThan(Date.now() + 50_000);
});

test('what the issuer says of permissions is kept, and nothing where it says nothing', async () => {
  expect(await verifier.verify(await custom({ permissions: ['orders:read', 'orders:read'] }))).toMatchObject({
    permissions: ['orders:read'],
  });
  expect(await verifier.verify(await custom({}))).not.toHaveProperty('permissions');
  expect(await codeOf(await custom({ permissions: 'all' }))).toBe('TOKEN_INVALID');
});

test('a worker needs no tenant', async () => {
  const principal = await verifier.verify(await issuer.token({ tenant: '', subject: 'worker', roles: ['worker'] }));
  expect(principal).toMatchObject({ tenant: '', roles: ['worker'], onBehalfOf: null });
});

test('access token types of common issuers are taken', async () => {
  for (const typ of ['JWT', 'at+jwt', 'application/at+jwt']) {
    await expect(verifier.verify(await custom({}, { typ }))).resolves.toMatchObject({ subject: 'ann' });
  }
});

test('missing, expired, wrong audience and wrong issuer have their own answers', async () => {
  expect(await codeOf(undefined)).toBe('TOKEN_MISSING');
  expect(await codeOf('')).toBe('TOKEN_MISSING');
  expect(await codeOf(await issuer.token({}, -6))).toBe('TOKEN_EXPIRED');
  expect(await codeOf(await issuer.token({ audience: 'other' }))).toBe('TOKEN_WRONG_AUDIENCE');
  expect(await codeOf(await custom({}, {}, ['aud']))).toBe('TOKEN_WRONG_AUDIENCE');
  expect(await codeOf(await issuer.token({ issuer: 'https://other.test' }))).toBe('TOKEN_INVALID');
});

test('clocks may differ by five seconds', async () => {
  await expect(verifier.verify(await issuer.token({}, -3))).resolves.toMatchObject({ subject: 'ann@acme' });
});

test('claims that are missing or wrong are refused', async () => {
  const refused: readonly (readonly [Record<string, unknown>, readonly string[]])[] = [
    [{}, ['exp']],
    [{}, ['sub']],
    [{}, ['tenant']],
    [{}, ['roles']],
    [{ sub: '' }, []],
    [{ sub: 'x'.repeat(201) }, []],
    [{ sub: 'a\nb' }, []],
    [{ tenant: '' }, []],
    [{ tenant: 'x'.repeat(101) }, []],
    [{ tenant: ['acme'] }, []],
    [{ tenant: '', roles: ['worker', 'admin'] }, []],
    [{ roles: [] }, []],
    [{ roles: 'admin' }, []],
    [{ roles: ['root'] }, []],
    [{ on_behalf_of: 'bob' }, []],
    [{ roles: ['service'], on_behalf_of: '' }, []],
    [{ nbf: Math.floor(Date.now() / 1000) + 60 }, []],
  ];
  for (const [claims, omit] of refused) {
    expect([claims, omit, await codeOf(await custom(claims, {}, omit))]).toEqual([claims, omit, 'TOKEN_INVALID']);
  }
});

test('our grants are no tokens', async () => {
  for (const typ of ['run-grant+jwt', 'execution-grant+jwt', 'decision+jwt', 'anything']) {
    expect(await codeOf(await custom({}, { typ }))).toBe('TOKEN_INVALID');
  }
  const grant = await runGrantSigner(key).sign({
    tenant: 'acme',
    user: 'ann',
    run: 'r',
    agent: 'a',
    agentHash: '0'.repeat(64),
    tools: {},
    resources: [],
    permissions: [],
  });
  const lenient = createVerifier({ issuer: 'steward-run-api', audience, jwks: issuer.jwks });
  const error = await stewardErrorOf(lenient.verify(grant));
  expect(error).toMatchObject({ code: 'TOKEN_INVALID', message: expect.stringContaining('run-grant+jwt') });
});

test('forged tokens are refused', async () => {
  const good = await issuer.token();
  const [header = '', payload = '', signature = ''] = good.split('.');
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>;
  const edited = `${header}.${base64({ ...claims, tenant: 'globex' })}.${signature}`;
  const none = `${base64({ alg: 'none' })}.${payload}.`;
  const unsignedButSaysEd = `${header}.${payload}.`;
  const publicJwk = issuer.jwks.keys[0] ?? {};
  const spki = await exportSPKI(
    (await importJWK(publicJwk, 'EdDSA', { extractable: true })) as Parameters<typeof exportSPKI>[0],
  );
  const hmacBody = `${base64({ alg: 'HS256', kid: key.kid })}.${payload}`;
  const hmacs = [spki, JSON.stringify(publicJwk), publicJwk.x ?? ''].map(
    (secret) => `${hmacBody}.${createHmac('sha256', secret).update(hmacBody).digest('base64url')}`,
  );
  const stranger = await testKey();
  const otherKey = await new SignJWT(claims)
    .setProtectedHeader({ alg: 'EdDSA', kid: key.kid })
    .sign(await importJWK(stranger.key, 'EdDSA'));
  const ownKeyInside = await new SignJWT(claims)
    .setProtectedHeader({ alg: 'EdDSA', jwk: stranger.jwks.keys[0] ?? {} })
    .sign(await importJWK(stranger.key, 'EdDSA'));
  const forged = [edited, none, unsignedButSaysEd, ...hmacs, otherKey, ownKeyInside, 'x', 'a.b.c', `${good}.x`];
  for (const token of forged) expect([token, await codeOf(token)]).toEqual([token, 'TOKEN_INVALID']);
  expect(await codeOf('x'.repeat(20_000))).toBe('TOKEN_INVALID');
});

test('RS256 and ES256 keys of the set are accepted; an algorithm outside is not', async () => {
  for (const alg of ['RS256', 'ES256', 'PS256'] as const) {
    const pair = await generateKeyPair(alg, { extractable: true });
    const jwk = { ...(await exportJWK(pair.publicKey)), kid: alg };
    const accepting = createVerifier({ issuer: iss, audience, jwks: { keys: [jwk] } });
    const token = await new SignJWT({ tenant: 'acme', roles: ['user'] })
      .setProtectedHeader({ alg, kid: alg })
      .setIssuer(iss)
      .setAudience(audience)
      .setSubject('ann')
      .setExpirationTime('1 min')
      .sign(pair.privateKey);
    const verified = accepting.verify(token);
    if (alg === 'PS256') expect((await stewardErrorOf(verified)).code).toBe('TOKEN_INVALID');
    else await expect(verified).resolves.toMatchObject({ subject: 'ann', roles: ['user'] });
  }
});

test('a cached token expires all the same', async () => {
  let now = Date.now();
  const caching = createVerifier({ issuer: iss, audience, jwks: issuer.jwks, now: () => new Date(now) });
  const token = await issuer.token({}, 30);
  expect(await caching.verify(token)).toBe(await caching.verify(token));
  now += 36_000;
  expect((await stewardErrorOf(caching.verify(token))).code).toBe('TOKEN_EXPIRED');
});
