import { timestampMs } from '@bufbuild/protobuf/wkt';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { importJWK, SignJWT } from 'jose';
import { Answer } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { ApprovalState, type JudgedCall } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { decisionSigner, type SignedDecision } from '#platform/identity/decisions.ts';
import type { PrivateJwk } from '#platform/identity/key-pair.ts';
import type { Role } from '#platform/identity/principal.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type Bench, type BenchRun, guardBench } from '#test/support/guard/bench.ts';

let bench: Bench;

beforeAll(async () => {
  bench = await guardBench();
}, 180_000);

afterAll(() => bench.stop(), 30_000);

interface Asked {
  readonly run: BenchRun;
  readonly call: JudgedCall;
}

async function asked(): Promise<Asked> {
  const run = await bench.run();
  return { run, call: await run.ask() };
}

const confirm = ({ run, call }: Asked, signedDecision = '') =>
  bench.worker.confirmDecision({ runGrant: run.runGrant, approvalId: call.approvalId, signedDecision });

async function sign(
  { run, call }: Asked,
  answer: Answer = Answer.APPROVE,
  subject = 'bea@acme',
  roles: readonly Role[] = ['approver'],
) {
  const decision = { approvalId: call.approvalId, answer, digest: call.digest, reason: 'Looked at it.' };
  return bench.person(run.tenant, subject, roles).signDecision({ decision });
}

/** A decision in every detail as the guard would sign it, but for `change`, by this key. */
function forge({ run, call }: Asked, change: Partial<SignedDecision>, key: PrivateJwk): Promise<string> {
  return decisionSigner(key).sign({
    id: crypto.randomUUID(),
    tenant: run.tenant,
    run: run.id,
    call: call.callId,
    approval: call.approvalId,
    digest: call.digest,
    answer: 'approve',
    reason: '',
    roles: ['approver'],
    decidedBy: 'bea@acme',
    expiresAt: new Date(Date.now() + 60_000),
    ...change,
  });
}

const decide = ({ run, call }: Asked, answer: Answer) =>
  bench.person(run.tenant, 'bea@acme', ['approver']).decide({
    requestId: call.approvalId,
    decision: { approvalId: call.approvalId, answer, digest: call.digest },
  });

const expire = ({ run }: Asked) =>
  bench.database.query("update steward.approvals set expires_at = now() - interval '1 second' where run_id = $1", [
    run.id,
  ]);

test('a signed decision is recorded like one given by Decide, once', async () => {
  const question = await asked();
  const { signedDecision, signalJson, workflowId, expiresAt } = await sign(question);
  const { run, call } = question;
  expect(workflowId).toBe(`run/${run.id}`);
  expect(JSON.parse(signalJson)).toEqual({ approvalId: call.approvalId, digest: call.digest, signed: signedDecision });
  expect(expiresAt && timestampMs(expiresAt)).toBe(call.expiresAt && timestampMs(call.expiresAt));
  expect(await run.rows('decisions')).toEqual([]);
  expect((await run.rows('audit')).map((row) => row.action)).toEqual(['verdict.ask', 'decision.signed']);

  const all = await Promise.all(Array.from({ length: 10 }, () => confirm(question, signedDecision)));
  for (const one of all) expect(one).toEqual(all[0]);
  expect(all[0]).toMatchObject({ state: ApprovalState.APPROVED, decidedBy: 'bea@acme', reason: 'Looked at it.' });
  const decisions = await run.rows('decisions');
  expect(decisions).toHaveLength(1);
  expect(decisions[0]).toMatchObject({ via: 'signed', decided_by: 'bea@acme', roles: ['approver'] });
  expect(await run.row()).toMatchObject({ open_approvals: 0, status: 'running' });
  expect((await run.rows('audit')).map((row) => row.action)).toEqual([
    'verdict.ask',
    'decision.signed',
    'approval.approve',
  ]);
  expect(
    (await bench.worker.authorize({ runGrant: run.runGrant, callId: call.callId, digest: call.digest })).attempt,
  ).toBe(1);
});

test('a signed no ends the call', async () => {
  const question = await asked();
  const { signedDecision } = await sign(question, Answer.DENY);
  expect(await confirm(question, signedDecision)).toMatchObject({ state: ApprovalState.DENIED });
  expect((await question.run.rows('calls'))[0]).toMatchObject({ state: 'denied' });
  expect(await question.run.rows('steps')).toHaveLength(1);
});

test('the first answer wins over a signed one that comes later, and the other way round', async () => {
  const first = await asked();
  const late = await sign(first, Answer.APPROVE, 'cleo@acme');
  await decide(first, Answer.DENY);
  expect(await confirm(first, late.signedDecision)).toMatchObject({
    state: ApprovalState.DENIED,
    decidedBy: 'bea@acme',
  });
  const second = await asked();
  const early = await sign(second, Answer.APPROVE, 'cleo@acme');
  await confirm(second, early.signedDecision);
  expect(await stewardErrorOf(decide(second, Answer.DENY))).toMatchObject({
    code: 'ALREADY_DECIDED',
    details: { decidedBy: 'cleo@acme' },
  });
});

const flip = (token: string, at: number): string =>
  token.slice(0, at) + (token[at] === 'A' ? 'B' : 'A') + token.slice(at + 1);

const edit = (token: string, change: object): string => {
  const [header, payload, signature] = token.split('.') as [string, string, string];
  const claims = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
  return [header, Buffer.from(JSON.stringify({ ...claims, ...change })).toString('base64url'), signature].join('.');
};

const FORGERIES: readonly (readonly [string, (own: Asked, other: Asked) => Promise<string>])[] = [
  ['no token at all', async () => 'yes please'],
  ['signed by a stranger', (own) => forge(own, {}, bench.keys.stranger.key)],
  ['signed by run-api', (own) => forge(own, {}, bench.keys.runApi.key)],
  ["signed by the tokens' issuer", (own) => forge(own, {}, bench.keys.issuer.key)],
  [
    "a stranger under the name of the guard's key",
    (own) => forge(own, {}, { ...bench.keys.stranger.key, kid: bench.keys.guard.key.kid }),
  ],
  [
    'unsigned',
    async (own) => {
      const { signedDecision } = await sign(own);
      const header = Buffer.from(JSON.stringify({ alg: 'none', typ: 'decision+jwt' })).toString('base64url');
      return `${header}.${signedDecision.split('.')[1]}.`;
    },
  ],
  [
    'with a flipped signature',
    async (own) => {
      const { signedDecision } = await sign(own);
      return flip(signedDecision, signedDecision.lastIndexOf('.') + 20);
    },
  ],
  ['edited from no to yes', async (own) => edit((await sign(own, Answer.DENY)).signedDecision, { answer: 'approve' })],
  ['edited to another person', async (own) => edit((await sign(own)).signedDecision, { sub: 'boss@acme' })],
  ['edited to live on', async (own) => edit((await sign(own)).signedDecision, { exp: 9_999_999_999 })],
  ['for another approval of the same run', async (_own, other) => (await sign(other)).signedDecision],
  ['signed by the guard for another run', (own) => forge(own, { run: 'another-run' }, bench.keys.guard.key)],
  ['signed by the guard for another tenant', (own) => forge(own, { tenant: 'globex' }, bench.keys.guard.key)],
  ['signed by the guard for another call', (own) => forge(own, { call: '1.1' }, bench.keys.guard.key)],
  ['signed by the guard for other arguments', (own) => forge(own, { digest: 'e'.repeat(64) }, bench.keys.guard.key)],
  ['by the acting service', (own) => forge(own, { roles: ['service'], decidedBy: 'shop@acme' }, bench.keys.guard.key)],
  ['by one without the role', (own) => forge(own, { roles: ['operator'] }, bench.keys.guard.key)],
  [
    'an execution grant',
    async () => {
      const { run, call } = await asked();
      await decide({ run, call }, Answer.APPROVE);
      const granted = await bench.worker.authorize({
        runGrant: run.runGrant,
        callId: call.callId,
        digest: call.digest,
      });
      return granted.executionGrants[0] as string;
    },
  ],
  ['a run grant', async (own) => own.run.runGrant],
  [
    "a person's access token",
    (own) => bench.keys.issuer.token({ tenant: own.run.tenant, subject: 'bea@acme', roles: ['approver'] }),
  ],
  [
    'of the guard, but of another type',
    async (own) => {
      const { signedDecision } = await sign(own);
      const payload = JSON.parse(Buffer.from(signedDecision.split('.')[1] as string, 'base64url').toString('utf8'));
      return new SignJWT(payload)
        .setProtectedHeader({ alg: 'EdDSA', typ: 'JWT', kid: bench.keys.guard.key.kid })
        .sign(await importJWK(bench.keys.guard.key, 'EdDSA'));
    },
  ],
  [
    'with a claim too many',
    async (own) => {
      const { signedDecision } = await sign(own);
      const payload = JSON.parse(Buffer.from(signedDecision.split('.')[1] as string, 'base64url').toString('utf8'));
      return new SignJWT({ ...payload, args: { note_id: 'other' } })
        .setProtectedHeader({ alg: 'EdDSA', typ: 'decision+jwt', kid: bench.keys.guard.key.kid })
        .sign(await importJWK(bench.keys.guard.key, 'EdDSA'));
    },
  ],
];

test.each(FORGERIES)('a decision %s is refused, noted, and changes nothing', async (_name, make) => {
  const run = await bench.run();
  const { calls } = await run.judge([
    { tool: 'delete_note', args: { note_id: 'a' } },
    { tool: 'delete_note', args: { note_id: 'b' } },
  ]);
  const [own, other] = calls.map((call) => ({ run, call })) as [Asked, Asked];
  const signed = await make(own, other);
  const error = await stewardErrorOf(confirm(own, signed));
  expect(error.code).toBe('DECISION_FORGED');
  expect(await run.rows('decisions')).toEqual([]);
  expect(await run.row()).toMatchObject({ open_approvals: 2, status: 'awaiting_approval' });
  const noted = (await run.rows('events')).filter((event) => event.kind === 'approval.refused');
  expect(noted).toHaveLength(1);
  expect(noted[0]).toMatchObject({ call_id: '1.0', data: { approval: own.call.approvalId } });
  const audited = (await run.rows('audit')).filter((row) => row.action === 'approval.refused');
  expect(audited).toHaveLength(1);
  expect(JSON.stringify(audited)).not.toContain(signed.slice(0, 60));
  // And a true one is still heard.
  expect(await confirm(own, (await sign(own)).signedDecision)).toMatchObject({ state: ApprovalState.APPROVED });
});

test('a genuine decision that has expired decides nothing', async () => {
  const question = await asked();
  const past = new Date(Date.now() - 60_000);
  const late = await decisionSigner(bench.keys.guard.key, { now: () => new Date(Date.now() - 120_000) }).sign({
    id: crypto.randomUUID(),
    tenant: question.run.tenant,
    run: question.run.id,
    call: question.call.callId,
    approval: question.call.approvalId,
    digest: question.call.digest,
    answer: 'approve',
    reason: '',
    roles: ['approver'],
    decidedBy: 'bea@acme',
    expiresAt: past,
  });
  expect(await confirm(question, late)).toMatchObject({ state: ApprovalState.OPEN });
  expect((await question.run.rows('events')).at(-1)).toMatchObject({
    kind: 'approval.refused',
    data: { code: 'APPROVAL_EXPIRED' },
  });
  const { signedDecision } = await sign(question);
  await expire(question);
  expect(await confirm(question, signedDecision)).toMatchObject({ state: ApprovalState.EXPIRED });
  expect(await question.run.rows('decisions')).toEqual([]);
});

test('a decision signed by one who has lost the leave to decide is refused', async () => {
  const question = await asked();
  const { signedDecision } = await sign(question, Answer.APPROVE, 'ann@acme', ['user']);
  await bench.database.query('update steward.tenants set users_may_confirm = false where id = $1', [
    question.run.tenant,
  ]);
  expect((await stewardErrorOf(confirm(question, signedDecision))).code).toBe('DECISION_FORGED');
  expect((await question.run.rows('events')).at(-1)?.data).toMatchObject({ code: 'NOT_PERMITTED' });
});

test('nobody gets a signature for what Decide would refuse', async () => {
  const question = await asked();
  const code = async (work: Promise<unknown>) => (await stewardErrorOf(work)).code;
  expect(await code(sign(question, Answer.APPROVE, 'op@acme', ['operator']))).toBe('NOT_PERMITTED');
  expect(await code(sign(question, Answer.APPROVE, 'shop@acme', ['service']))).toBe('ROLE_MISSING');
  expect(await code(sign({ ...question, call: { ...question.call, digest: 'a'.repeat(64) } }))).toBe('DIGEST_MISMATCH');
  const people = bench.person(question.run.tenant, 'bea@acme', ['approver']);
  const decision = { approvalId: question.call.approvalId, answer: Answer.APPROVE, digest: question.call.digest };
  expect(await code(people.signDecision({ decision: { ...decision, reason: 'x'.repeat(1_001) } }))).toBe(
    'INVALID_REQUEST',
  );
  expect(await code(people.signDecision({ decision: { ...decision, reason: '漢'.repeat(1_000) } }))).toBe(
    'INVALID_REQUEST',
  );
  const foreign = bench.person(await bench.database.tenant(), 'bea@acme', ['approver']);
  expect(await code(foreign.signDecision({ decision }))).toBe('NOT_FOUND');
  await decide(question, Answer.DENY);
  expect(await code(sign(question))).toBe('ALREADY_DECIDED');
  const late = await asked();
  await expire(late);
  expect(await code(sign(late))).toBe('APPROVAL_EXPIRED');
});
