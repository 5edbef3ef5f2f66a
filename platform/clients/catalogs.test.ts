import type { MessageInitShape } from '@bufbuild/protobuf';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { freePort } from '#deploy/dev/ports.ts';
import { type ErrorCode, StewardError } from '#domain/errors.ts';
import {
  type ExecuteResponseSchema,
  type ResolveResponseSchema,
  ToolCatalog,
} from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import { bind } from '#platform/grpc/bind.ts';
import { type RunningServer, startServer } from '#platform/grpc/server.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type TestIssuer, testIssuer } from '#test/support/identity.ts';
import { keepLog } from '#test/support/rpc.ts';
import { connectCatalogs } from './catalogs.ts';

/** A catalog that says what a test wants it to. */
const says: {
  execute?: MessageInitShape<typeof ExecuteResponseSchema>;
  resolve?: MessageInitShape<typeof ResolveResponseSchema>;
  refuse?: ErrorCode | null;
} = {};

let issuer: TestIssuer;
let server: RunningServer;

beforeAll(async () => {
  issuer = await testIssuer();
  const roles = ['worker'] as const;
  const answer = async <T>(value: T): Promise<T> => {
    if (says.refuse) throw new StewardError(says.refuse, 'no');
    return value;
  };
  server = await startServer({
    listen: '127.0.0.1:0',
    verifier: issuer.verifier,
    log: keepLog(),
    services: [
      bind(ToolCatalog, {
        roles: { describeTools: roles, preview: roles, execute: roles, resolve: roles, undo: roles },
        handlers: {
          describeTools: () => answer({}),
          preview: () => answer({}),
          execute: () => answer(says.execute ?? {}),
          resolve: () => answer(says.resolve ?? {}),
          undo: () => answer({}),
        },
      }),
    ],
  });
});

afterAll(() => server.stop(0));

const SIGNAL = new AbortController().signal;
const worker = () => issuer.token({ tenant: '', subject: 'worker-1', roles: ['worker'] });
const EXECUTE = { actionRecord: new Uint8Array(), runGrant: 'r', executionGrants: [], timeoutMs: 5_000 };

async function execute(execute: typeof says.execute, token = worker, address = server.address, catalog = 'desk') {
  says.execute = execute ?? {};
  const catalogs = connectCatalogs({ addresses: { desk: address }, token });
  try {
    return await catalogs.execute(catalog, EXECUTE, SIGNAL);
  } finally {
    catalogs.close();
  }
}

async function resolve(resolve: typeof says.resolve, lookOnly = false) {
  says.resolve = resolve ?? {};
  const catalogs = connectCatalogs({ addresses: { desk: server.address }, token: worker });
  try {
    return await catalogs.resolve('desk', { key: 'k', digest: 'd', runGrant: 'r', lookOnly }, SIGNAL);
  } finally {
    catalogs.close();
  }
}

const receipt = (more: object = {}) => ({
  case: 'receipt' as const,
  value: { key: 'k', resultJson: '{"n":1}', ...more },
});

test('receipts and refusals are told as they are', async () => {
  const change = {
    summary: 's',
    fields: [{ record: 'r', field: 'f', beforeJson: '', afterJson: '2' }],
    quantities: { emails: 1n },
  };
  expect(await execute({ outcome: receipt({ change, undoable: true }) })).toEqual({
    kind: 'receipt',
    resultJson: '{"n":1}',
    change: { summary: 's', fields: [{ record: 'r', field: 'f', after: 2 }], quantities: { emails: 1 } },
    undoable: true,
    repeated: false,
  });
  expect(await execute({ outcome: { case: 'refusal', value: { code: 'NO', message: 'no' } } })).toEqual({
    kind: 'refusal',
    code: 'NO',
    message: 'no',
  });
});

test.each([
  ['no outcome', {}],
  ['a result that is no JSON', { outcome: receipt({ resultJson: '{' }) }],
  ['a result nobody can keep', { outcome: receipt({ resultJson: '['.repeat(5_000) + ']'.repeat(5_000) }) }],
  [
    'a quantity nobody can count',
    { outcome: receipt({ change: { summary: '', fields: [], quantities: { x: 2n ** 60n } } }) },
  ],
])('%s leaves the outcome open', async (_, answer) => {
  expect((await stewardErrorOf(execute(answer))).code).toBe('CATALOG_BROKEN');
});

test('what a key came to is told; only a look may find nothing', async () => {
  expect(await resolve({ state: receipt() })).toMatchObject({ kind: 'receipt' });
  expect(await resolve({ state: { case: 'tombstone', value: {} } })).toEqual({ kind: 'tombstone' });
  expect(await resolve({ state: { case: 'inDoubt', value: { running: true, repeatable: false } } })).toEqual({
    kind: 'in_doubt',
    running: true,
    repeatable: false,
  });
  const nothing = { state: { case: 'nothing' as const, value: {} } };
  expect(await resolve(nothing, true)).toEqual({ kind: 'nothing' });
  expect((await stewardErrorOf(resolve(nothing))).code).toBe('CATALOG_BROKEN');
  expect((await stewardErrorOf(resolve({}))).code).toBe('CATALOG_BROKEN');
});

test('what failed on the way is told apart from what the catalog said', async () => {
  const away = `127.0.0.1:${await freePort()}`;
  const codeOf = async (work: Promise<unknown>) => (await stewardErrorOf(work)).code;
  expect(await codeOf(execute({}, worker, away))).toBe('CATALOG_UNAVAILABLE');
  expect(await codeOf(execute({}, worker, server.address, 'unknown'))).toBe('CATALOG_UNAVAILABLE');
  // About this worker, not about the call.
  expect(await codeOf(execute({}, () => issuer.token({ roles: ['worker'] }, -60)))).toBe('CATALOG_UNAVAILABLE');
  expect(await codeOf(execute({}, () => issuer.token({ roles: ['operator'] })))).toBe('CATALOG_UNAVAILABLE');
  for (const [said, told] of [
    ['UNAVAILABLE', 'CATALOG_UNAVAILABLE'],
    ['INTERNAL', 'CATALOG_BROKEN'],
    ['UNIMPLEMENTED', 'CATALOG_BROKEN'],
    ['TOMBSTONED', 'TOMBSTONED'],
    ['GRANT_REPLAYED', 'GRANT_REPLAYED'],
    ['OUTCOME_UNKNOWN', 'OUTCOME_UNKNOWN'],
  ] as const) {
    says.refuse = said;
    expect(await codeOf(execute({}))).toBe(told);
  }
  says.refuse = null;
});
