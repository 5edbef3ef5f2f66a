import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { freePort } from '#deploy/dev/ports.ts';
import { EffectClass, Risk } from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { RunningServer } from '#platform/grpc/server.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type TestIssuer, testIssuer } from '#test/support/identity.ts';
import {
  described,
  deskTools,
  HELPER,
  type RunApiBench,
  runApiBench,
  serveDescriptions,
} from '#test/support/run-api.ts';
import { openCatalogs } from '../catalogs.ts';

let bench: RunApiBench;

beforeAll(async () => {
  bench = await runApiBench({ catalogs: { away: `127.0.0.1:${await freePort()}` } });
}, 120_000);

afterAll(() => bench.stop(), 60_000);

const versions = (tenant: string) =>
  bench.database.query('select name, hash, is_current from steward.agents where tenant = $1 order by applied_at', [
    tenant,
  ]);

test('the same content is the same version, another one is current, and the first can come back', async () => {
  const tenant = await bench.database.tenant();
  const { admin, runs } = bench.as({ tenant });
  const first = await admin.applyAgent({ yaml: HELPER });
  expect(first).toMatchObject({
    changed: true,
    agent: {
      name: 'helper',
      model: 'offline-1',
      tools: ['look', 'note', 'shred'],
      appliedBy: 'ann@acme',
      current: true,
      yaml: '',
    },
  });
  const same = await admin.applyAgent({ yaml: `# said otherwise\n${HELPER}` });
  expect(same).toMatchObject({ changed: false, agent: { hash: first.agent?.hash } });
  const second = await admin.applyAgent({ yaml: HELPER.replace('Help.', 'Help well.') });
  expect(second.changed).toBe(true);
  expect(second.agent?.hash).not.toBe(first.agent?.hash);
  const started = await runs.startRun({ requestId: 'a', agent: 'helper', input: 'x' });
  expect(started.run?.agentHash).toBe(second.agent?.hash);
  const old = await runs.startRun({ requestId: 'b', agent: 'helper', agentHash: first.agent?.hash ?? '', input: 'x' });
  expect(old.run?.agentHash).toBe(first.agent?.hash);
  expect(await admin.applyAgent({ yaml: HELPER })).toMatchObject({ changed: true, agent: { hash: first.agent?.hash } });
  expect((await versions(tenant)).map((row) => row.is_current)).toEqual([true, false]);
  const current = await admin.getAgent({ name: 'helper' });
  expect(current.agent).toMatchObject({ hash: first.agent?.hash, yaml: HELPER });
  const [row] = await bench.database.query('select tools from steward.agents where tenant = $1 limit 1', [tenant]);
  expect(row?.tools).toMatchObject([
    { catalog: 'desk', name: 'look', risk: 'safe', effectClass: 'none', timeoutMs: 5_000, hash: deskTools()[0]?.hash },
    { name: 'note', risk: 'cautious', effectClass: 'transactional', hasUndo: true },
    { name: 'shred', risk: 'destructive' },
  ]);
});

test('many that apply at once leave one current version', async () => {
  const tenant = await bench.database.tenant();
  const { admin } = bench.as({ tenant });
  await Promise.all(
    Array.from({ length: 12 }, (_, i) => admin.applyAgent({ yaml: HELPER.replace('Help.', `Help ${i % 4}.`) })),
  );
  const rows = await versions(tenant);
  expect(rows).toHaveLength(4);
  expect(rows.filter((row) => row.is_current)).toHaveLength(1);
});

test('every refusal says what is wrong, and stores nothing', async () => {
  const tenant = await bench.database.tenant();
  const { admin } = bench.as({ tenant });
  const tools = (text: string) => HELPER.replace('desk: [look, note, shred]', text);
  for (const [yaml, code, says] of [
    ['', 'AGENT_INVALID', 'must be a mapping'],
    [HELPER.replace('model:', 'modle:'), 'AGENT_INVALID', 'modle (line 4): is no key'],
    [HELPER.replace('offline-1', 'gpt-1'), 'MODEL_UNKNOWN', 'offline-1'],
    [tools('desk: [look, fly]'), 'TOOL_UNKNOWN', 'Catalog desk has no fly. It has: look, note, shred.'],
    [tools('dsk: [look]'), 'AGENT_INVALID', 'there is no catalog dsk; known are desk, away'],
    [tools('away: [look]'), 'CATALOG_UNAVAILABLE', 'Catalog away cannot be asked'],
    [`${HELPER}${'#'.repeat(300_000)}`, 'AGENT_INVALID', 'at most 262144 bytes'],
    ['x'.repeat(1_100_000), 'TOO_LARGE', ''],
  ] as const) {
    const error = await stewardErrorOf(admin.applyAgent({ yaml }));
    expect(error).toMatchObject({ code, message: expect.stringContaining(says) });
  }
  expect(await versions(tenant)).toEqual([]);
  for (const role of ['operator', 'user', 'service', 'approver', 'auditor'] as const) {
    const other = bench.as({ tenant, roles: [role] }).admin;
    expect((await stewardErrorOf(other.applyAgent({ yaml: HELPER }))).code).toBe('ROLE_MISSING');
  }
  expect((await stewardErrorOf(bench.as({ tenant: 'nobody' }).admin.applyAgent({ yaml: HELPER }))).code).toBe(
    'NOT_FOUND',
  );
});

test('agents are listed by name in pages, each tenant its own', async () => {
  const tenant = await bench.database.tenant();
  const { admin } = bench.as({ tenant });
  const names = ['a', 'b-2', 'c', 'zz', '0'].toSorted();
  for (const name of names) await admin.applyAgent({ yaml: HELPER.replace('name: helper', `name: "${name}"`) });
  const reader = bench.as({ tenant, subject: 'u', roles: ['user'] }).admin;
  const seen: string[] = [];
  let pageToken = '';
  for (let pages = 0; pages < 10; pages += 1) {
    const page = await reader.listAgents({ pageSize: 2, pageToken });
    seen.push(...page.agents.map((agent) => agent.name));
    pageToken = page.nextPageToken;
    if (pageToken === '') break;
  }
  expect(seen).toEqual(names);
  const other = bench.as({ tenant: await bench.database.tenant() }).admin;
  expect((await other.listAgents({})).agents).toEqual([]);
  expect((await stewardErrorOf(other.getAgent({ name: 'a' }))).code).toBe('AGENT_UNKNOWN');
  const calls = [
    admin.listAgents({ pageSize: 101 }),
    admin.listAgents({ pageToken: 'AAAA' }),
    admin.getAgent({ name: '' }),
    admin.getAgent({ name: 'a', hash: 'x' }),
  ];
  const errors = await Promise.all(calls.map((call) => stewardErrorOf(call)));
  expect(errors.map(({ code }) => code)).toEqual(calls.map(() => 'INVALID_REQUEST'));
});

/** What run-api makes of a catalog of another team's. */
async function describe(
  answer: Parameters<typeof serveDescriptions>[2],
  options: { readonly tools?: readonly string[]; readonly maxMessageBytes?: number; readonly issuer?: TestIssuer } = {},
) {
  const issuer = await testIssuer();
  const server: RunningServer = await serveDescriptions(issuer, 'desk', answer, options.maxMessageBytes);
  const token = () => (options.issuer ?? issuer).token({ tenant: '', roles: ['worker'] });
  const catalogs = openCatalogs({ desk: server.address }, token);
  try {
    return await catalogs.describe('desk', options.tools ?? ['look'], AbortSignal.timeout(20_000));
  } finally {
    catalogs.close();
    await server.stop(0);
  }
}

test('a catalog that is slow, huge, someone else, or answers nonsense is named and refused', async () => {
  const hanging = (ctx: CallContext) =>
    new Promise<never>((_done, fail) => ctx.signal.addEventListener('abort', () => fail(ctx.signal.reason as Error)));
  const slow = await stewardErrorOf(describe(hanging));
  expect(slow).toMatchObject({
    code: 'CATALOG_UNAVAILABLE',
    message: expect.stringMatching(/did not answer|deadline/),
  });
  const fat = { ...described({ name: 'look' }), description: 'x'.repeat(50_000_000) };
  const huge = await stewardErrorOf(
    describe(async () => ({ catalog: 'desk', tools: [fat] }), { maxMessageBytes: 60_000_000 }),
  );
  expect(huge.code).toBe('CATALOG_BROKEN');
  const named = async (catalog: string, names: readonly string[]) =>
    stewardErrorOf(describe(async () => ({ catalog, tools: names.map((name) => described({ name })) })));
  expect((await named('other', ['look'])).message).toContain('it calls itself "other"');
  expect((await named('desk', ['look', 'look'])).message).toContain('two of its tools have one name');
  expect(
    (
      await named(
        'desk',
        Array.from({ length: 201 }, (_, i) => `t${i}`),
      )
    ).message,
  ).toContain('201 tools');
  const failing = await stewardErrorOf(describe(() => Promise.reject(new Error('boom'))));
  expect(failing.code).toBe('CATALOG_BROKEN');
  const wrongToken = await stewardErrorOf(
    describe(async () => ({ catalog: 'desk', tools: deskTools() }), { issuer: await testIssuer() }),
  );
  expect(wrongToken.code).toBe('CATALOG_UNAVAILABLE');
}, 60_000);

test('a description that cannot be pinned is refused with every fault', async () => {
  const closed = { type: 'object', properties: {}, additionalProperties: false };
  const schema = (value: unknown) => JSON.stringify(value);
  const effect = { effectClass: EffectClass.TRANSACTIONAL, risk: Risk.CAUTIOUS };
  const cases: readonly (readonly [Omit<Parameters<typeof described>[0], 'name'>, string])[] = [
    [{ description: '' }, 'description must be 1 to 4,000 characters'],
    [{ description: 'x'.repeat(4_001) }, 'description must be 1 to 4,000 characters'],
    [{ version: '' }, 'version must be'],
    [{ risk: Risk.UNSPECIFIED }, 'risk is not set'],
    [{ effectClass: EffectClass.UNSPECIFIED }, 'effect_class is not set'],
    [{ labels: [9 as never] }, 'labels has an unknown one'],
    [{ risk: Risk.DESTRUCTIVE }, 'a tool is safe exactly where'],
    [effect, 'needs an undo, or the risk IRREVERSIBLE'],
    [{ timeout: durationFromMs(60_001) }, 'at most 60 s'],
    [{ timeout: durationFromMs(0) }, 'timeout must be more than 0'],
    [{ permissions: ['all of them'] }, 'permissions must be'],
    [{ resourceKeys: ['task'] }, 'resource_keys must be templates'],
    [{ inputSchemaJson: '{' }, 'input_schema_json is no JSON'],
    [{ inputSchemaJson: schema({ type: 'object' }) }, 'additionalProperties: must be false'],
    [
      { inputSchemaJson: schema({ ...closed, properties: { a: { type: 'string', pattern: '(?=x)' } } }) },
      'unsupported',
    ],
    [{ inputSchemaJson: schema({ ...closed, $ref: 'https://x.example' }) }, 'only references'],
    [{ outputSchemaJson: schema({ type: 'thing' }) }, 'output_schema_json'],
    [{ hash: 'f'.repeat(64) }, 'hash is not the SHA-256'],
  ];
  for (const [part, says] of cases) {
    const tool = described({ ...part, name: 'look' });
    const error = await stewardErrorOf(describe(async () => ({ catalog: 'desk', tools: [tool] })));
    expect(error).toMatchObject({ code: 'AGENT_INVALID', message: expect.stringContaining(says) });
    expect(error.message).toContain('desk.look: ');
  }
  // Another tool's faults are nobody's concern.
  const tools = [described({ name: 'look' }), described({ name: 'bad', description: '' })];
  expect(await describe(async () => ({ catalog: 'desk', tools }))).toHaveLength(1);
}, 60_000);
