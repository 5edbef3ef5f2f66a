import { createHmac, randomUUID } from 'node:crypto';
import { expect, test } from '@jest/globals';
import { importJWK, SignJWT } from 'jose';
import type { ActionRecord } from '#domain/action-record.ts';
import type { ErrorCode } from '#domain/errors.ts';
import { stewardErrorBy, stewardErrorOf } from '#test/support/errors.ts';
import { testIssuer, testKey } from '#test/support/identity.ts';
import { decisionSigner, decisionVerifier, type SignedDecision } from './decisions.ts';
import {
  assertGrantCovers,
  type ExecutionGrant,
  executionGrantSigner,
  executionGrantVerifier,
  type RunGrant,
  runGrantSigner,
  runGrantVerifier,
} from './grants.ts';

const digest = 'd'.repeat(64);
const runApi = await testKey();
const guard = await testKey();
const stranger = await testKey();

const runGrant: RunGrant = {
  tenant: 'acme',
  user: 'bob@acme',
  run: 'run-1',
  agent: 'closer',
  agentHash: 'a'.repeat(64),
  tools: { projects: ['get_task', 'delete_task'], messaging: [] },
  resources: ['project/apollo'],
  permissions: ['tasks.write'],
};
const executionGrant: ExecutionGrant = {
  tenant: 'acme',
  run: 'run-1',
  call: '2.1',
  key: 'run-1/2.1',
  digest,
  tool: 'delete_task',
  attempt: 1,
  catalog: 'projects',
};
const decision: SignedDecision = {
  id: 'decision-1',
  tenant: 'acme',
  run: 'run-1',
  call: '2.1',
  approval: 'approval-1',
  digest,
  answer: 'approve',
  reason: 'duplicates',
  roles: ['approver'],
  decidedBy: 'ann@acme',
  expiresAt: new Date(Math.floor(Date.now() / 1000) * 1000 + 600_000),
};

const runs = runGrantVerifier(runApi.jwks);
const executions = executionGrantVerifier(guard.jwks, 'projects');
const decisions = decisionVerifier(guard.jwks);

/** The three kinds, each with a genuine token, its verifier, and the code of a forgery. */
const kinds: readonly {
  readonly name: string;
  readonly key: typeof guard;
  readonly typ: string;
  readonly token: string;
  readonly verify: (token: string) => Promise<unknown>;
  readonly forged: ErrorCode;
}[] = [
  {
    name: 'run grant',
    key: runApi,
    typ: 'run-grant+jwt',
    token: await runGrantSigner(runApi.key).sign(runGrant),
    verify: (token) => runs.verify(token),
    forged: 'GRANT_INVALID',
  },
  {
    name: 'execution grant',
    key: guard,
    typ: 'execution-grant+jwt',
    token: (await executionGrantSigner(guard.key).sign(executionGrant)).token,
    verify: (token) => executions.verify(token),
    forged: 'GRANT_INVALID',
  },
  {
    name: 'decision',
    key: guard,
    typ: 'decision+jwt',
    token: await decisionSigner(guard.key).sign(decision),
    verify: (token) => decisions.verify(token),
    forged: 'DECISION_FORGED',
  },
];

const base64 = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString('base64url');
const read = (part: string | undefined): Record<string, unknown> =>
  JSON.parse(Buffer.from(part ?? '', 'base64url').toString()) as Record<string, unknown>;

/** The claims of a genuine token, changed and signed again with the right key: what only its owner could do. */
async function resigned(kind: (typeof kinds)[number], changes: Record<string, unknown>): Promise<string> {
  const claims = { ...read(kind.token.split('.')[1]), ...changes };
  const kept = Object.fromEntries(Object.entries(claims).filter(([, value]) => value !== undefined));
  return await new SignJWT(kept)
    .setProtectedHeader({ alg: 'EdDSA', typ: kind.typ, kid: kind.key.key.kid })
    .sign(await importJWK(kind.key.key, 'EdDSA'));
}

test('what is signed is what is read', async () => {
  const [run, execution, answer] = await Promise.all(kinds.map((kind) => kind.verify(kind.token)));
  expect(run).toMatchObject(runGrant);
  expect(execution).toMatchObject(executionGrant);
  expect(answer).toMatchObject(decision);
});

test('an expired run grant still says whose run it was, to what ends it, and to nothing else', async () => {
  const later = new Date(Date.now() + 61 * 86_400_000);
  const verifier = runGrantVerifier(runApi.jwks, { now: () => later });
  const token = kinds[0]?.token ?? '';
  await expect(verifier.verify(token)).rejects.toMatchObject({ code: 'GRANT_EXPIRED' });
  expect(await verifier.verify(token, { expired: true })).toMatchObject({ run: runGrant.run, tenant: runGrant.tenant });
  await expect(verifier.verify(token)).rejects.toMatchObject({ code: 'GRANT_EXPIRED' });
  await expect(verifier.verify(`${token.slice(0, -4)}AAAA`, { expired: true })).rejects.toMatchObject({
    code: 'GRANT_INVALID',
  });
});

test('a run grant lives 60 days, an execution grant two minutes, a decision as long as its approval', async () => {
  const days = ((await runs.verify(kinds[0]?.token ?? '')).expiresAt.getTime() - Date.now()) / 86_400_000;
  expect(Math.round(days)).toBe(60);
  const signed = await executionGrantSigner(guard.key).sign(executionGrant);
  const execution = await executions.verify(signed.token);
  expect(execution).toMatchObject({ id: signed.id, expiresAt: signed.expiresAt });
  expect(execution.expiresAt.getTime() - execution.issuedAt.getTime()).toBe(120_000);
  expect((await decisions.verify(kinds[2]?.token ?? '')).expiresAt).toEqual(decision.expiresAt);
});

test('nothing signs an execution grant for longer, and a longer one is not accepted', async () => {
  const signer = executionGrantSigner(guard.key);
  for (const ms of [120_001, 0, -1, Number.NaN]) {
    expect((await stewardErrorOf(signer.sign(executionGrant, ms))).code).toBe('GRANT_INVALID');
  }
  const now = Math.floor(Date.now() / 1000);
  const [, kind] = kinds;
  if (kind === undefined) throw new Error('no execution grant');
  for (const times of [
    { iat: now, exp: now + 121 },
    { iat: now - 3_600, exp: now + 60 },
    { iat: now + 100, exp: now + 160 },
  ]) {
    expect((await stewardErrorOf(kind.verify(await resigned(kind, times)))).code).toBe('GRANT_INVALID');
  }
});

test.each(kinds)('a $name of a signer whose clock is a minute ahead is good', async (kind) => {
  const now = Math.floor(Date.now() / 1000);
  await kind.verify(await resigned(kind, { iat: now + 60, exp: now + 120 }));
});

test.each(kinds)('a forged $name is refused', async ({ token, key, typ, verify, forged }) => {
  const [header = '', payload = '', signature = ''] = token.split('.');
  const claims = read(payload);
  const edits = Object.keys(claims).map((name) => `${header}.${base64({ ...claims, [name]: 'edited' })}.${signature}`);
  const publicJwk = key.jwks.keys[0] ?? {};
  const hmacBody = `${base64({ alg: 'HS256', typ, kid: key.key.kid })}.${payload}`;
  const hmac = createHmac('sha256', Buffer.from(publicJwk.x ?? '', 'base64url'))
    .update(hmacBody)
    .digest('base64url');
  const byStranger = await new SignJWT(claims)
    .setProtectedHeader({ alg: 'EdDSA', typ, kid: key.key.kid })
    .sign(await importJWK(stranger.key, 'EdDSA'));
  const all = [
    ...edits,
    `${base64({ alg: 'none', typ })}.${payload}.`,
    `${header}.${payload}.`,
    `${hmacBody}.${hmac}`,
    byStranger,
    '',
    'x',
    'x'.repeat(100_000),
  ];
  for (const forgery of all) expect([forgery, (await stewardErrorOf(verify(forgery))).code]).toEqual([forgery, forged]);
});

test.each(kinds)('no other kind stands in for a $name', async ({ name, token: own, key, typ, verify, forged }) => {
  const others = kinds.filter((kind) => kind.name !== name).map((kind) => kind.token);
  const issuer = await testIssuer();
  for (const other of [...others, await issuer.token()]) {
    expect((await stewardErrorOf(verify(other))).code).toBe(forged);
  }
  // Also with the right key, the right claims, and another type or issuer.
  const claims = read(own.split('.')[1]);
  const secret = await importJWK(key.key, 'EdDSA');
  for (const wrong of ['JWT', 'at+jwt', ...kinds.map((kind) => kind.typ).filter((other) => other !== typ)]) {
    const token = await new SignJWT(claims).setProtectedHeader({ alg: 'EdDSA', typ: wrong }).sign(secret);
    expect((await stewardErrorOf(verify(token))).code).toBe(forged);
  }
  const elsewhere = await new SignJWT({ ...claims, iss: 'steward' })
    .setProtectedHeader({ alg: 'EdDSA', typ })
    .sign(secret);
  expect((await stewardErrorOf(verify(elsewhere))).code).toBe(forged);
});

test.each(kinds)('a $name with claims missing, superfluous or out of range is refused', async (kind) => {
  const names = Object.keys(read(kind.token.split('.')[1]));
  const changes: Record<string, unknown>[] = [
    ...names.filter((name) => name !== 'aud').map((name) => ({ [name]: undefined })),
    { admin: true },
    { tenant: '' },
    { run: 'x'.repeat(201) },
    { sub: '' },
    { jti: 7 },
    { exp: 'tomorrow' },
  ];
  for (const change of changes) {
    expect([change, (await stewardErrorOf(kind.verify(await resigned(kind, change)))).code]).toEqual([
      change,
      kind.forged,
    ]);
  }
});

test('late ones are told apart from forged ones, with five seconds of tolerance', async () => {
  const later = (ms: number) => ({ now: () => new Date(Date.now() + ms) });
  const { token } = await executionGrantSigner(guard.key).sign(executionGrant, 10_000);
  const at = (ms: number) => executionGrantVerifier(guard.jwks, 'projects', later(ms)).verify(token);
  await expect(at(12_000)).resolves.toMatchObject({ call: '2.1' });
  expect((await stewardErrorOf(at(16_000))).code).toBe('GRANT_EXPIRED');
  const run = runGrantVerifier(runApi.jwks, later(61 * 86_400_000)).verify(kinds[0]?.token ?? '');
  expect((await stewardErrorOf(run)).code).toBe('GRANT_EXPIRED');
  const answer = decisionVerifier(guard.jwks, later(700_000)).verify(kinds[2]?.token ?? '');
  expect((await stewardErrorOf(answer)).code).toBe('APPROVAL_EXPIRED');
  const past = decisionSigner(guard.key).sign({ ...decision, expiresAt: new Date(Date.now() - 60_000) });
  expect((await stewardErrorOf(past)).code).toBe('APPROVAL_EXPIRED');
});

test('an execution grant is for one catalog', async () => {
  const other = executionGrantVerifier(guard.jwks, 'messaging');
  expect((await stewardErrorOf(other.verify(kinds[1]?.token ?? ''))).code).toBe('GRANT_MISMATCH');
});

test('what cannot be signed is refused before it is', async () => {
  expect((await stewardErrorOf(runGrantSigner(runApi.key).sign({ ...runGrant, user: '' }))).code).toBe('GRANT_INVALID');
  const short = { ...executionGrant, digest: 'abc' };
  expect((await stewardErrorOf(executionGrantSigner(guard.key).sign(short))).code).toBe('GRANT_INVALID');
  const noRoles = decisionSigner(guard.key).sign({ ...decision, roles: [] });
  expect((await stewardErrorOf(noRoles)).code).toBe('DECISION_FORGED');
  const { d: _, ...publicOnly } = guard.key;
  expect((await stewardErrorBy(() => decisionSigner(publicOnly as typeof guard.key))).code).toBe('INVALID_REQUEST');
});

test('keys that cannot be had make it unavailable, never valid', async () => {
  const missing = runGrantVerifier(`/nowhere/${randomUUID()}.json`);
  expect((await stewardErrorOf(missing.verify(kinds[0]?.token ?? ''))).code).toBe('UNAVAILABLE');
});

test('a cached run grant expires all the same', async () => {
  let now = Date.now();
  const verifier = runGrantVerifier(runApi.jwks, { now: () => new Date(now) });
  const token = await runGrantSigner(runApi.key).sign(runGrant, 30_000);
  const first = await verifier.verify(token);
  expect(await verifier.verify(token)).toBe(first);
  now += 40_000;
  expect((await stewardErrorOf(verifier.verify(token))).code).toBe('GRANT_EXPIRED');
});

test('a grant covers one exact record', async () => {
  const record: ActionRecord = {
    v: 1,
    kind: 'execute',
    tenant: 'acme',
    run: 'run-1',
    call: '2.1',
    user: 'bob@acme',
    catalog: 'projects',
    tool: 'delete_task',
    toolHash: 'b'.repeat(64),
    args: {},
    previewHash: null,
    key: 'run-1/2.1',
    undoOf: null,
  };
  assertGrantCovers(executionGrant, record, digest);
  for (const field of ['tenant', 'run', 'call', 'key', 'catalog', 'tool', 'digest'] as const) {
    const error = await stewardErrorBy(() => assertGrantCovers({ ...executionGrant, [field]: 'x' }, record, digest));
    expect(error).toMatchObject({ code: 'GRANT_MISMATCH', details: { field } });
  }
});
