import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type ErrorCode, StewardError } from '#domain/errors.ts';
import { RunService } from '#gen/steward/run/v1/run_service_pb.ts';
import { bind, type CallContext } from '#platform/grpc/bind.ts';
import { type RunningServer, startServer } from '#platform/grpc/server.ts';
import { createKeyPair, type KeyPair } from '#platform/identity/key-pair.ts';
import { createVerifier, mintToken } from '#platform/identity/tokens.ts';
import { type CliResult, runCli } from '#test/support/cli.ts';
import { runHandlers } from '#test/support/rpc.ts';

/** A server that only fails: what the command makes of failures is what is tested here. */
let server: RunningServer;
let folder: string;
let keys: KeyPair;
let token: string;

const hang = (ctx: CallContext): Promise<never> =>
  new Promise((_done, fail) => {
    ctx.signal.addEventListener('abort', () => fail(ctx.signal.reason), { once: true });
  });

const handlers = runHandlers({
  async getRun(ctx, { runId }) {
    if (runId === 'HANG') return await hang(ctx);
    throw new StewardError(runId as ErrorCode, 'First line.\nSecond \u001b[31mline.', { details: { field: 'x' } });
  },
  cancelRun: hang,
});

function mint(
  claims: { readonly roles?: readonly ['auditor']; readonly audience?: string; readonly ttl?: number } = {},
) {
  const { roles = ['operator'] as const, audience = 'steward', ttl = 3_600 } = claims;
  return mintToken(keys.privateJwk, { issuer: 'test', audience, tenant: 'acme', subject: 'olga', roles }, ttl);
}

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'steward-cli-'));
  keys = await createKeyPair(folder, 'test');
  token = await mint();
  const operator = ['operator'] as const;
  const methods = RunService.methods.map((method) => [method.localName, operator]);
  server = await startServer({
    listen: '127.0.0.1:0',
    services: [bind(RunService, { roles: Object.fromEntries(methods), handlers })],
    verifier: createVerifier({ issuer: 'test', audience: 'steward', jwks: keys.jwks }),
    log: { debug: () => {}, info: () => undefined, warn: () => {}, error: () => {} },
  });
});

afterAll(async () => {
  await server.stop(0);
  await rm(folder, { recursive: true });
});

async function steward(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
  stdin?: string,
): Promise<CliResult> {
  const known = { STEWARD_HOME: folder, STEWARD_ADDRESS: server.address, STEWARD_TOKEN: token };
  // A busy machine is not what is tested.
  const patient = args.includes('--timeout') ? args : [...args, '--timeout', '60s'];
  return await runCli(patient, { env: { ...known, ...env }, ...(stdin === undefined ? {} : { stdin }) });
}

test('usage faults end with 2 and say what is right', async () => {
  const [none, unknown, typo, option, input] = await Promise.all([
    steward([]),
    steward(['bogus']),
    steward(['run', 'strt']),
    steward(['run', 'list', '--status', 'done']),
    steward(['run', 'start', '--agent', 'a']),
  ]);
  expect(none.code).toBe(2);
  expect(none.stderr).toContain('Usage: steward');
  expect(unknown).toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining("unknown command 'bogus'") });
  expect(typo.stderr).toContain('Did you mean start?');
  expect(option).toMatchObject({ code: 2, stderr: expect.stringContaining('awaiting_approval') });
  expect(input).toMatchObject({ code: 2, stderr: expect.stringContaining('Say what you want done') });
});

test('help ends with 0 and names the exit codes, on every command', async () => {
  const [top, deep] = await Promise.all([steward(['--help']), steward(['run', 'start', '--help'])]);
  expect(top).toMatchObject({ code: 0, stderr: '' });
  expect(top.stdout).toContain('STEWARD_GUARD_ADDRESS');
  expect(deep.code).toBe(0);
  for (const { stdout } of [top, deep]) expect(stdout).toMatch(/Exit codes:\n {2}0 {4}done[\s\S]* {2}130 /);
});

test('a service that is down ends with 5 and says how to get one', async () => {
  const gone = await steward(['run', 'get', 'x'], { STEWARD_ADDRESS: '127.0.0.1:1' });
  expect(gone.code).toBe(5);
  expect(gone.stdout).toBe('');
  expect(gone.stderr).toContain('steward: run-api cannot be reached at 127.0.0.1:1.');
  expect(gone.stderr).toContain('steward dev up');
  expect(gone.stderr).toContain('--address or STEWARD_ADDRESS');
});

test('no address, and one that is none, end with 2', async () => {
  const [missing, guard, wrong] = await Promise.all([
    steward(['run', 'get', 'x'], { STEWARD_ADDRESS: '' }),
    steward(['approval', 'list']),
    steward(['run', 'get', 'x', '--address', 'localhost']),
  ]);
  expect(missing).toMatchObject({ code: 2, stderr: expect.stringContaining('set STEWARD_ADDRESS or --address') });
  expect(guard).toMatchObject({ code: 2, stderr: expect.stringContaining('set STEWARD_GUARD_ADDRESS') });
  expect(wrong).toMatchObject({ code: 2, stderr: expect.stringContaining('Write host:port') });
});

test('a token that is missing, expired, for someone else or without the role ends with 4 and says what to do', async () => {
  const [expired, elsewhere, poor] = await Promise.all([
    mint({ ttl: -60 }),
    mint({ audience: 'other' }),
    mint({ roles: ['auditor'] }),
  ]);
  const get = (env: Record<string, string>) => steward(['run', 'get', 'x'], env);
  const [none, late, foreign, role, file] = await Promise.all([
    get({ STEWARD_TOKEN: '' }),
    get({ STEWARD_TOKEN: expired }),
    get({ STEWARD_TOKEN: elsewhere }),
    get({ STEWARD_TOKEN: poor }),
    get({ STEWARD_TOKEN: '', STEWARD_TOKEN_FILE: join(folder, 'none') }),
  ]);
  for (const result of [none, late, foreign, role, file]) expect(result).toMatchObject({ code: 4, stdout: '' });
  expect(none.stderr).toMatch(/No token[\s\S]*Set STEWARD_TOKEN[\s\S]*steward dev token/);
  expect(late.stderr).toMatch(/The token has expired[\s\S]*The token came from STEWARD_TOKEN\./);
  expect(foreign.stderr).toContain('another audience');
  expect(role.stderr).toMatch(/needs one of the roles operator; this token has auditor/);
  expect(file.stderr).toContain(`The token file ${join(folder, 'none')} cannot be read.`);
});

test('what the service says is told whole and harmless, with its exit code', async () => {
  const [found, denied, decided, broken] = await Promise.all([
    steward(['run', 'get', 'NOT_FOUND']),
    steward(['run', 'get', 'NOT_PERMITTED']),
    steward(['run', 'get', 'ALREADY_DECIDED']),
    steward(['run', 'get', 'INTERNAL']),
  ]);
  expect(found).toMatchObject({ code: 3, stderr: 'steward: First line.\nSecond ␛[31mline.\n' });
  expect(denied.code).toBe(4);
  expect(decided.code).toBe(6);
  expect(broken).toMatchObject({ code: 70, stderr: expect.stringContaining("service's log") });
});

test('with --json a failure is one JSON line on stderr', async () => {
  const result = await steward(['run', 'get', 'NOT_FOUND', '--json']);
  expect(result).toMatchObject({ code: 3, stdout: '' });
  expect(JSON.parse(result.stderr)).toEqual({
    error: {
      code: 'NOT_FOUND',
      message: 'First line.\nSecond \u001b[31mline.',
      details: { field: 'x' },
      hints: [],
      exitCode: 3,
    },
  });
});

test('waiting is told, ends at --timeout with 5, and a change says how to repeat it safely', async () => {
  const [read, change] = await Promise.all([
    steward(['run', 'get', 'HANG', '--timeout', '1500ms']),
    steward(['run', 'cancel', 'r', '--request-id', 'req-1', '--timeout', '300ms']),
  ]);
  expect(read.code).toBe(5);
  expect(read.stderr).toMatch(/Waiting for run-api: 1 s\n.*did not answer within 1500 ms/);
  expect(read.stderr).toContain('--timeout 30s');
  expect(change.code).toBe(5);
  expect(change.stderr).toContain('repeat it with --request-id req-1');
});

test('an input that cannot be read ends with 2 before anything is sent', async () => {
  const missing = join(folder, 'missing.txt');
  const [file, empty, twice] = await Promise.all([
    steward(['run', 'start', '--agent', 'a', '--input-file', missing], { STEWARD_ADDRESS: '127.0.0.1:1' }),
    steward(['run', 'start', '--agent', 'a', '-'], { STEWARD_ADDRESS: '127.0.0.1:1' }, ' \n'),
    steward(['run', 'start', '--agent', 'a', 'x', '--input', 'y'], { STEWARD_ADDRESS: '127.0.0.1:1' }),
  ]);
  expect(file).toMatchObject({ code: 2, stderr: expect.stringContaining(`Cannot read ${missing}`) });
  expect(empty).toMatchObject({ code: 2, stderr: expect.stringContaining('is empty') });
  expect(twice).toMatchObject({ code: 2, stderr: expect.stringContaining('once') });
});

test('a reader that goes away ends the command quietly', async () => {
  const { spawnSync } = await import('node:child_process');
  const main = join(import.meta.dirname, 'main.ts');
  const { status, stderr } = spawnSync('sh', ['-c', `"${process.execPath}" "${main}" --help | head -n 1`], {
    encoding: 'utf8',
    timeout: 20_000,
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});
