import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type DevEnvironment, TOKEN_KEY, writeEnvironment } from '#deploy/dev/environment.ts';
import { type DevPaths, preparePaths, resolvePaths } from '#deploy/dev/paths.ts';
import { createKeyPair } from '#platform/identity/key-pair.ts';
import { createVerifier } from '#platform/identity/tokens.ts';
import { runCli } from '#test/support/cli.ts';
import { resolveTarget } from './connection.ts';

let folder: string;
let local: Readonly<Record<string, string>>;
let paths: DevPaths;

const environment: DevEnvironment = {
  runApi: '127.0.0.1:1',
  guard: '127.0.0.1:2',
  temporal: '127.0.0.1:3',
  temporalUi: '',
  namespace: 'steward',
  issuer: 'steward-dev',
  audience: 'steward',
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'steward-cli-'));
  local = { STEWARD_HOME: join(folder, 'home'), STEWARD_CACHE: join(folder, 'cache') };
  paths = await resolvePaths(local);
  await preparePaths(paths);
  await createKeyPair(paths.secrets, TOKEN_KEY);
  await writeEnvironment(paths, environment);
});

afterAll(async () => {
  await rm(folder, { recursive: true });
});

async function principalOf(token: string) {
  const { jwks } = await createKeyPair(paths.secrets, TOKEN_KEY);
  return await createVerifier({ issuer: 'steward-dev', audience: 'steward', jwks }).verify(token);
}

test('the local environment is used where nothing else is named, as its local person', async () => {
  const target = await resolveTarget({}, local);
  expect(target).toMatchObject({ runApi: '127.0.0.1:1', guard: '127.0.0.1:2', local: { temporal: '127.0.0.1:3' } });
  expect(target.token.kind).toBe('local');
  expect(await principalOf(await target.token.get())).toMatchObject({
    tenant: 'acme',
    subject: 'olga@acme.example',
    roles: ['operator', 'approver', 'admin'],
  });
});

test('a command that names one address never reaches the local environment with the other', async () => {
  expect(await resolveTarget({}, { ...local, STEWARD_ADDRESS: 'api:443' })).toMatchObject({
    runApi: 'api:443',
    guard: null,
    local: null,
    token: { kind: 'none' },
  });
  expect(await resolveTarget({ guardAddress: 'guard:443' }, local)).toMatchObject({ runApi: null, guard: 'guard:443' });
});

test('a token that is given wins over the local one', async () => {
  const target = await resolveTarget({}, { ...local, STEWARD_TOKEN: ' abc ' });
  expect(target.runApi).toBe('127.0.0.1:1');
  expect(await target.token.get()).toBe('abc');
});

test('options win over variables, variables over nothing', async () => {
  const file = join(folder, 'token');
  await writeFile(file, 'from-file\n');
  const env = { ...local, STEWARD_ADDRESS: 'env:1', STEWARD_TOKEN: 'from-env', STEWARD_TOKEN_FILE: '/nowhere' };
  const target = await resolveTarget({ address: 'https://option:2', tokenFile: file }, env);
  expect(target.runApi).toBe('https://option:2');
  expect(await target.token.get()).toBe('from-file');
  expect((await resolveTarget({}, env)).token).toMatchObject({ kind: 'environment', from: 'STEWARD_TOKEN' });
  expect((await resolveTarget({}, { ...env, STEWARD_TOKEN: '' })).token).toMatchObject({ from: '/nowhere' });
});

test('an address that is none is refused', async () => {
  for (const bad of ['localhost', 'http://x', ':', 'a b:1', 'host:123456']) {
    await expect(resolveTarget({ address: bad }, local)).rejects.toMatchObject({ code: 'INVALID_REQUEST' });
  }
});

test('a file that says something else counts as no environment', async () => {
  const other = { STEWARD_HOME: join(folder, 'other'), STEWARD_CACHE: join(folder, 'cache') };
  await preparePaths(await resolvePaths(other));
  await writeFile(join(folder, 'other', 'dev.json'), '{"runApi":1}');
  expect(await resolveTarget({}, other)).toMatchObject({ runApi: null, local: null });
});

test('dev token mints what is asked for', async () => {
  const args = ['--subject', 'shop', '--tenant', 'globex', '--on-behalf-of', 'ann', '--ttl', '5m'];
  const [plain, asked, wrong, none] = await Promise.all([
    runCli(['dev', 'token'], { env: local }),
    runCli(['dev', 'token', '--json', ...args], { env: local }),
    runCli(['dev', 'token', '--role', 'king'], { env: local }),
    runCli(['dev', 'token'], { env: { ...local, STEWARD_HOME: join(folder, 'nothing') } }),
  ]);
  expect(plain).toMatchObject({ code: 0, stderr: '' });
  expect(await principalOf(plain.stdout.trim())).toMatchObject({ subject: 'olga@acme.example' });
  const document = JSON.parse(asked.stdout) as { token: string; expiresAt: string };
  expect(await principalOf(document.token)).toMatchObject({
    tenant: 'globex',
    subject: 'shop',
    roles: ['service'],
    onBehalfOf: 'ann',
  });
  expect(Date.parse(document.expiresAt) - Date.now()).toBeLessThanOrEqual(300_000);
  expect(wrong).toMatchObject({ code: 2, stderr: expect.stringContaining('one of service, approver') });
  expect(none).toMatchObject({ code: 6, stdout: '', stderr: expect.stringContaining('steward dev up') });
});

test('using the local environment is said once, and that it is down says how to start it', async () => {
  const result = await runCli(['run', 'get', 'x'], { env: local });
  expect(result.code).toBe(5);
  expect(result.stderr.match(/Using the local environment, as olga@acme\.example\./g)).toHaveLength(1);
  expect(result.stderr).toContain('seems to be down. Start it: steward dev up');
});
