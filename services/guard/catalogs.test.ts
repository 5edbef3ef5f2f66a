import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { freePort } from '#deploy/dev/ports.ts';
import { StewardError } from '#domain/errors.ts';
import { ToolCatalog } from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import { bind, type Handlers } from '#platform/grpc/bind.ts';
import { type RunningServer, startServer } from '#platform/grpc/server.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type TestIssuer, testIssuer } from '#test/support/identity.ts';
import { keepLog } from '#test/support/rpc.ts';
import { type Catalogs, openCatalogs } from './catalogs.ts';
import { MAX_PREVIEW } from './preview.ts';

type Behaviour = Partial<Pick<Handlers<typeof ToolCatalog>, 'describeTools' | 'preview'>>;

let issuer: TestIssuer;
let port: number;
let server: RunningServer;
let catalogs: Catalogs;
let now = 0;
/** What the catalog does at the moment. */
let behaviour: Behaviour = {};
let described = 0;

const unimplemented = async (): Promise<never> => {
  throw new StewardError('UNIMPLEMENTED', 'not in this test');
};

const serve = () =>
  startServer({
    listen: `127.0.0.1:${port}`,
    services: [
      bind(ToolCatalog, {
        roles: {
          describeTools: ['worker'],
          preview: ['worker'],
          execute: ['worker'],
          resolve: ['worker'],
          undo: ['worker'],
        },
        handlers: {
          describeTools: (ctx, request) => {
            described += 1;
            return (behaviour.describeTools ?? unimplemented)(ctx, request);
          },
          preview: (ctx, request) => (behaviour.preview ?? unimplemented)(ctx, request),
          execute: unimplemented,
          resolve: unimplemented,
          undo: unimplemented,
        },
      }),
    ],
    verifier: issuer.verifier,
    log: keepLog(),
    maxMessageBytes: 64_000_000,
  });

beforeAll(async () => {
  issuer = await testIssuer();
  port = await freePort();
  server = await serve();
  const token = () => issuer.token({ tenant: '', subject: 'guard', roles: ['worker'] });
  catalogs = openCatalogs({ desk: `127.0.0.1:${port}` }, token, () => now);
});

afterAll(async () => {
  catalogs.close();
  await server.stop(0);
});

const hash = (digit: string) => digit.repeat(64);
const describes = (tools: Readonly<Record<string, string>>, catalog = 'desk'): Behaviour => ({
  describeTools: async () => ({
    catalog,
    tools: Object.entries(tools).map(([name, toolHash]) => ({ name, hash: toolHash })),
  }),
});
const fails = (error: Error): Behaviour => ({
  describeTools: async () => {
    throw error;
  },
});
const preview = (signal = new AbortController().signal) =>
  catalogs.preview('desk', { actionRecord: new Uint8Array(), runGrant: '' }, signal);
const previews = (answer: Awaited<ReturnType<NonNullable<Behaviour['preview']>>>): Behaviour => ({
  preview: async () => answer,
});
const refuses = (code: ConstructorParameters<typeof StewardError>[0]): Behaviour => ({
  preview: async () => {
    throw new StewardError(code, 'because');
  },
});

test('hashes are kept for 30 s, read once for all who wait, and for 5 min at most while they cannot be read', async () => {
  behaviour = describes({ a: hash('1') });
  const read = () => catalogs.currentHash('desk', 'a');
  expect(await Promise.all([read(), read(), read()])).toEqual([hash('1'), hash('1'), hash('1')]);
  expect(await catalogs.currentHash('desk', 'b')).toBeNull();
  expect(described).toBe(1);

  behaviour = describes({ a: hash('2') });
  now += 29_999;
  expect(await read()).toBe(hash('1'));
  now += 1;
  expect(await read()).toBe(hash('2'));
  expect(described).toBe(2);

  behaviour = fails(new StewardError('UNAVAILABLE', 'down'));
  now += 299_999;
  expect(await read()).toBe(hash('2'));
  now += 1;
  expect((await stewardErrorOf(read())).code).toBe('CATALOG_UNAVAILABLE');
  behaviour = describes({ a: hash('3') });
  expect(await read()).toBe(hash('3'));
});

test('a catalog that has just failed is not asked at every call', async () => {
  behaviour = describes({ a: hash('1') });
  now += 600_000;
  await catalogs.currentHash('desk', 'a');
  behaviour = fails(new StewardError('UNAVAILABLE', 'down'));
  now += 30_000;
  const before = described;
  for (let times = 0; times < 5; times += 1) expect(await catalogs.currentHash('desk', 'a')).toBe(hash('1'));
  expect(described).toBe(before + 1);
  now += 5_000;
  await catalogs.currentHash('desk', 'a');
  expect(described).toBe(before + 2);
});

test('hashes that are in use are read again beside the work, before they are too old', async () => {
  behaviour = describes({ a: hash('1') });
  now += 600_000;
  expect(catalogs.isKnown('desk')).toBe(false);
  expect(await catalogs.currentHash('desk', 'a')).toBe(hash('1'));
  expect([catalogs.isKnown('desk'), catalogs.isKnown('none')]).toEqual([true, false]);
  behaviour = describes({ a: hash('2') });
  const before = described;
  now += 20_001;
  expect(catalogs.isKnown('desk')).toBe(true);
  for (const until = Date.now() + 5_000; (await catalogs.currentHash('desk', 'a')) !== hash('2'); ) {
    expect(Date.now()).toBeLessThan(until);
    await delay(5);
  }
  expect(described).toBe(before + 1);
  now += 25_000;
  expect(catalogs.isKnown('desk')).toBe(false);
});

test.each([
  ['that is another one', describes({ a: hash('1') }, 'orders'), 'CATALOG_BROKEN'],
  [
    'with too many tools',
    describes(Object.fromEntries(Array.from({ length: 201 }, (_, n) => [`t${n}`, hash('1')]))),
    'CATALOG_BROKEN',
  ],
  ['that says 2 MB', describes({ ['x'.repeat(2_000_000)]: hash('1') }), 'CATALOG_BROKEN'],
  ['that fails inside', fails(new Error('boom')), 'CATALOG_BROKEN'],
  ['that does not accept the guard', fails(new StewardError('ROLE_MISSING', 'no')), 'CATALOG_UNAVAILABLE'],
] as const)('no hash is taken from a catalog %s', async (_name, how, code) => {
  behaviour = how;
  now += 600_000;
  expect((await stewardErrorOf(catalogs.currentHash('desk', 'a'))).code).toBe(code);
});

test('a catalog nobody has told the guard of is unavailable, and the error says what to set', async () => {
  expect(await stewardErrorOf(catalogs.currentHash('orders', 'a'))).toMatchObject({
    code: 'CATALOG_UNAVAILABLE',
    message: expect.stringContaining('STEWARD_CATALOGS'),
  });
});

test('a preview is read with its control characters gone', async () => {
  const field = { record: 'note/1', field: 'text', beforeJson: '"a"', afterJson: '' };
  behaviour = previews({
    change: { summary: 'delete\u0000\n\u001b[31m it', fields: [field], quantities: { rows: 1n } },
  });
  expect(await preview()).toEqual({
    change: {
      summary: 'delete   [31m it',
      fields: [{ record: 'note/1', field: 'text', before: 'a' }],
      quantities: { rows: 1 },
    },
    cut: null,
  });
});

test('a long preview is cut at whole fields', async () => {
  const fields = Array.from({ length: 30 }, (_, n) => ({
    record: `r/${n}`,
    field: 'f',
    beforeJson: JSON.stringify('x'.repeat(20_000)),
    afterJson: '1',
  }));
  behaviour = previews({ change: { summary: 'much', fields } });
  const { change, cut } = await preview();
  expect(JSON.stringify(change.fields).length).toBeLessThanOrEqual(MAX_PREVIEW + 100);
  expect(cut).toBe(`The preview is too long: it shows ${change.fields.length} of 30 changed fields.`);
  expect(change.fields).toHaveLength(9);
});

test.each([
  ['nothing', previews({})],
  [
    'what is no JSON',
    previews({ change: { summary: 's', fields: [{ record: 'r', field: 'f', beforeJson: '{', afterJson: '' }] } }),
  ],
  ['quantities beyond 2^53', previews({ change: { summary: 's', quantities: { rows: 2n ** 60n } } })],
  ['50 MB', previews({ change: { summary: 'x'.repeat(50_000_000) } })],
  ['nothing, since it has none', {}],
] as const)('a preview of %s is broken, not believed', async (_name, how) => {
  behaviour = how;
  expect((await stewardErrorOf(preview())).code).toBe('CATALOG_BROKEN');
});

test.each(['ARGUMENTS_INVALID', 'TOOL_REFUSED', 'NOT_PERMITTED', 'RESOURCE_DENIED', 'TOOL_CHANGED'] as const)(
  'what a catalog refuses with %s reaches the verdict',
  async (code) => {
    behaviour = refuses(code);
    expect(await stewardErrorOf(preview())).toMatchObject({ code, message: 'because' });
  },
);

test.each(['UNAVAILABLE', 'GRANT_INVALID', 'TOKEN_EXPIRED', 'LIMIT_REACHED'] as const)(
  'a catalog that answers %s could not be asked',
  async (code) => {
    behaviour = refuses(code);
    expect((await stewardErrorOf(preview())).code).toBe('CATALOG_UNAVAILABLE');
  },
);

test('a preview that takes over 10 s, or whose caller goes away, ends', async () => {
  const { promise, resolve } = Promise.withResolvers<object>();
  behaviour = { preview: () => promise };
  const caller = new AbortController();
  const cancelled = stewardErrorOf(preview(caller.signal));
  caller.abort();
  expect((await cancelled).code).toBe('CANCELLED');
  const started = performance.now();
  expect((await stewardErrorOf(preview())).code).toBe('CATALOG_UNAVAILABLE');
  expect(performance.now() - started).toBeLessThan(12_000);
  resolve({});
}, 30_000);
