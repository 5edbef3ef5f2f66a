import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { freePort } from '#deploy/dev/ports.ts';
import { type ErrorCode, StewardError } from '#domain/errors.ts';
import type { Proposal } from '#domain/ports/run-store.ts';
import {
  ApprovalState,
  type ConfirmDecisionResponseSchema,
  GuardService,
  type JudgeResponse,
  JudgeResponseSchema,
  VerdictKind,
} from '#gen/steward/guard/v1/guard_service_pb.ts';
import { bind } from '#platform/grpc/bind.ts';
import { type RunningServer, startServer } from '#platform/grpc/server.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type TestIssuer, testIssuer } from '#test/support/identity.ts';
import { keepLog } from '#test/support/rpc.ts';
import { connectGuard } from './guard.ts';

/** A guard that says what a test wants it to. */
const says: {
  judge?: JudgeResponse;
  confirm?: MessageInitShape<typeof ConfirmDecisionResponseSchema>;
  refuse?: ErrorCode;
} = {};
const answer = async <T>(value: T): Promise<T> => {
  if (says.refuse) throw new StewardError(says.refuse, 'no');
  return value;
};

let issuer: TestIssuer;
let server: RunningServer;

beforeAll(async () => {
  issuer = await testIssuer();
  const roles = ['worker'] as const;
  server = await startServer({
    listen: '127.0.0.1:0',
    verifier: issuer.verifier,
    log: keepLog(),
    services: [
      bind(GuardService, {
        roles: { judge: roles, authorize: roles, authorizeUndo: roles, confirmDecision: roles },
        handlers: {
          judge: () => answer(says.judge ?? {}),
          authorize: () => answer({ catalog: 'desk', executionGrants: ['g'], actionRecord: new Uint8Array([7]) }),
          authorizeUndo: () => answer({}),
          confirmDecision: () => answer(says.confirm ?? {}),
        },
      }),
    ],
  });
});

afterAll(() => server.stop(0));

const SIGNAL = new AbortController().signal;
const worker = () => issuer.token({ tenant: '', subject: 'worker-1', roles: ['worker'] });
const CALL: Proposal = { callId: '1.0', providerId: 'p', tool: 'edit', argsJson: '{"a":1}', malformed: null };

/** Does one thing with a guard's client. */
async function withGuard<T>(
  work: (guard: ReturnType<typeof connectGuard>) => Promise<T>,
  token = worker,
  address = server.address,
): Promise<T> {
  const guard = connectGuard({ address, token });
  try {
    return await work(guard);
  } finally {
    guard.close();
  }
}

const judgeWith = (call: object) => {
  says.judge = create(JudgeResponseSchema, { calls: [{ callId: '1.0', ...call }] });
  return withGuard((guard) => guard.judge('grant', 1, [CALL], SIGNAL));
};

test.each<[string, object, object]>([
  [
    'allow',
    { verdict: VerdictKind.ALLOW, digest: 'd', effect: true, resourceKeys: ['k/1'] },
    { verdict: 'allow', digest: 'd', effect: true, keys: ['k/1'] },
  ],
  ['deny', { verdict: VerdictKind.DENY, code: 'TOOL_UNKNOWN' }, { verdict: 'deny', code: 'TOOL_UNKNOWN' }],
  [
    'deny with a code nobody knows',
    { verdict: VerdictKind.DENY, code: 'X' },
    { verdict: 'deny', code: 'POLICY_DENIED' },
  ],
  [
    'ask',
    { verdict: VerdictKind.ASK, approvalId: 'a1', expiresAt: timestampFromMs(5_000) },
    { verdict: 'ask', approval: 'a1', expiresAt: 5_000 },
  ],
  ['a verdict from the future', { verdict: 17 }, { verdict: 'deny', code: 'POLICY_DENIED' }],
  ['none', {}, { verdict: 'deny', code: 'POLICY_DENIED' }],
])('%s is told as it is, and nothing that is not understood is a permission', async (_, call, judged) => {
  const sig = expect.stringMatching(/^[0-9a-f]{16}$/);
  expect(await judgeWith(call)).toEqual({ calls: [{ id: '1.0', tool: 'edit', sig, ...judged }], begun: [] });
});

test('what was begun is told beside the verdicts, and nothing that was not allowed is', async () => {
  const begun = { actionRecord: new Uint8Array([7]), catalog: 'desk', executionGrants: ['g'], attempt: 1 };
  const call = { digest: 'd', effect: true, timeoutMs: 700, begun };
  expect((await judgeWith({ ...call, verdict: VerdictKind.ALLOW })).begun).toEqual([
    {
      callId: '1.0',
      tool: 'edit',
      digest: 'd',
      timeoutMs: 700,
      hasEffect: true,
      leave: { actionRecord: new Uint8Array([7]), catalog: 'desk', executionGrants: ['g'], attempt: 1 },
    },
  ]);
  expect((await judgeWith({ ...call, verdict: VerdictKind.ASK })).begun).toEqual([]);
  expect((await judgeWith({ ...call, verdict: VerdictKind.ALLOW, digest: '' })).begun).toEqual([]);
});

test('a call that was left out is an error', async () => {
  expect((await stewardErrorOf(judgeWith({ callId: '1.1', verdict: VerdictKind.ALLOW }))).code).toBe('INTERNAL');
});

test('the state of an approval is told, and one that is missing is an error', async () => {
  says.confirm = { state: ApprovalState.APPROVED };
  expect(await withGuard((guard) => guard.confirmDecision('grant', 'a1', undefined, SIGNAL))).toEqual({
    state: 'approved',
  });
  says.confirm = {};
  const none = withGuard((guard) => guard.confirmDecision('grant', 'a1', 'signed', SIGNAL));
  expect((await stewardErrorOf(none)).code).toBe('INTERNAL');
});

test('a refusal that is about the worker decides nothing about the call', async () => {
  const authorize = (token = worker, address = server.address) =>
    stewardErrorOf(withGuard((guard) => guard.authorize('grant', '1.0', 'd', SIGNAL), token, address));
  expect(await authorize(() => issuer.token({ roles: ['worker'] }, -60))).toMatchObject({ code: 'UNAVAILABLE' });
  expect(await authorize(() => issuer.token({ roles: ['operator'] }))).toMatchObject({ code: 'UNAVAILABLE' });
  expect(await authorize(async () => 'no token')).toMatchObject({ code: 'UNAVAILABLE' });
  expect(await authorize(worker, `127.0.0.1:${await freePort()}`)).toMatchObject({ code: 'UNAVAILABLE' });
  says.refuse = 'KILLED';
  expect(await authorize()).toMatchObject({ code: 'KILLED' });
  delete says.refuse;
});
