import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { EffectClass, Risk } from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { RunningServer } from '#platform/grpc/server.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { testIssuer } from '#test/support/identity.ts';
import { described, type RunApiBench, runApiBench, serveDescriptions } from '#test/support/run-api.ts';

let bench: RunApiBench;
let shop: RunningServer;
let liar: RunningServer;
let tenant: string;
/** What `shop` answers; replaced by tests. */
let answer: (ctx: CallContext) => Promise<ReturnType<typeof described>[]>;

const effectClass = EffectClass.KEYED;
const shopTools = () => [
  described({ name: 'refund', risk: Risk.IRREVERSIBLE, effectClass, description: 'r'.repeat(1_000) }),
  described({ name: 'look' }),
  described({ name: 'broken', timeout: { $typeName: 'google.protobuf.Duration', seconds: 100n, nanos: 0 } }),
];

beforeAll(async () => {
  const issuer = await testIssuer();
  answer = async () => shopTools();
  shop = await serveDescriptions(issuer, 'shop', async (ctx) => ({ catalog: 'shop', tools: await answer(ctx) }));
  liar = await serveDescriptions(issuer, 'liar', async () => ({ catalog: 'another', tools: [] }));
  const catalogs = { shop: shop.address, liar: liar.address, away: '127.0.0.1:1' };
  bench = await runApiBench({ catalogs, issuer });
  tenant = await bench.tenant();
}, 120_000);

afterAll(async () => {
  await bench.stop();
  await Promise.all([shop.stop(0), liar.stop(0)]);
}, 60_000);

test('tools of all catalogs by catalog and name, in pages, and the catalogs whose tools are missing', async () => {
  const { admin } = bench.as({ tenant, roles: ['user'] });
  const names: string[] = [];
  let pageToken = '';
  do {
    const page = await admin.listTools({ pageSize: 2, pageToken });
    expect(page.tools.length).toBeLessThanOrEqual(2);
    names.push(...page.tools.map((tool) => `${tool.catalog}.${tool.name}`));
    expect(page.unreachable).toEqual([
      expect.objectContaining({ catalog: 'away', code: 'CATALOG_UNAVAILABLE', message: expect.stringMatching(/\S/) }),
      expect.objectContaining({ catalog: 'liar', code: 'CATALOG_BROKEN', message: expect.stringContaining('another') }),
    ]);
    pageToken = page.nextPageToken;
  } while (pageToken !== '' && names.length < 20);
  expect(names).toEqual(['desk.look', 'desk.note', 'desk.shred', 'shop.broken', 'shop.look', 'shop.refund']);
  const { tools, unreachable } = await admin.listTools({ catalog: 'shop' });
  expect(unreachable).toEqual([]);
  expect(tools.map((tool) => tool.faults)).toEqual([['timeout must be more than 0 and at most 60 s'], [], []]);
  expect(tools[2]).toMatchObject({ version: '1', risk: 'irreversible', effectClass: 'keyed' });
  expect(tools[2]?.description).toHaveLength(300);
});

test('a catalog that hangs holds the list up for its time only', async () => {
  const before = answer;
  answer = () => new Promise(() => {});
  try {
    const { tools, unreachable } = await bench.as({ tenant }).admin.listTools({}, { deadlineMs: 20_000 });
    expect(tools.map((tool) => tool.name)).toEqual(['look', 'note', 'shred']);
    expect(unreachable.map(({ catalog }) => catalog)).toEqual(['away', 'liar', 'shop']);
  } finally {
    answer = before;
  }
}, 60_000);

test('one tool whole, with the agents that use it and whether they pin it as it is', async () => {
  const { admin } = bench.as({ tenant });
  const found = await admin.getTool({ name: 'shred' });
  expect(found.tool).toMatchObject({ catalog: 'desk', name: 'shred', risk: 'destructive', faults: [] });
  expect(JSON.parse(found.definitionJson)).toMatchObject({
    name: 'shred',
    permissions: ['desk:write'],
    hasUndo: true,
    timeout: '5s',
    hash: found.tool?.hash,
  });
  expect(found.agents).toEqual([expect.objectContaining({ agent: 'helper', outdated: false })]);
  await bench.database.query(
    `update steward.agents set tools = replace(tools::text, $2, $3)::jsonb where tenant = $1`,
    [tenant, found.tool?.hash, 'f'.repeat(64)],
  );
  expect((await admin.getTool({ name: 'shred' })).agents).toEqual([expect.objectContaining({ outdated: true })]);
  const stranger = bench.as({ tenant: await bench.database.tenant() });
  expect((await stranger.admin.getTool({ name: 'shred' })).agents).toEqual([]);
});

test('a tool is told apart by its catalog, and one that cannot be looked for is not said to be missing', async () => {
  const { admin } = bench.as({ tenant });
  const codeOf = async (request: { readonly name?: string; readonly catalog?: string }) =>
    (await stewardErrorOf(admin.getTool(request))).code;
  expect(await stewardErrorOf(admin.getTool({ name: 'look' }))).toMatchObject({
    code: 'INVALID_REQUEST',
    message: expect.stringContaining('desk, shop'),
  });
  expect((await admin.getTool({ name: 'look', catalog: 'shop' })).tool?.catalog).toBe('shop');
  expect(await codeOf({ name: 'nothing' })).toBe('CATALOG_UNAVAILABLE');
  expect(await codeOf({ name: 'nothing', catalog: 'desk' })).toBe('TOOL_UNKNOWN');
  expect(await codeOf({ name: 'look', catalog: 'away' })).toBe('CATALOG_UNAVAILABLE');
  expect(await codeOf({ name: 'look', catalog: 'nowhere' })).toBe('NOT_FOUND');
  expect(await codeOf({})).toBe('INVALID_REQUEST');
  for (const pageToken of ['nonsense', Buffer.from('["a"]').toString('base64url'), 'x'.repeat(2_000)]) {
    expect((await stewardErrorOf(admin.listTools({ pageToken }))).code).toBe('INVALID_REQUEST');
  }
  expect((await stewardErrorOf(admin.listTools({ pageSize: 201 }))).code).toBe('INVALID_REQUEST');
  expect((await stewardErrorOf(admin.listTools({ catalog: 'nowhere' }))).code).toBe('NOT_FOUND');
});
