import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { freePort } from '#deploy/dev/ports.ts';
import { Health, HealthCheckResponse_ServingStatus as Serving } from '#gen/grpc/health/v1/health_pb.ts';
import { Answer, ApprovalService } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { GuardService } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { connect } from '#platform/grpc/client.ts';
import { runGrantSigner } from '#platform/identity/grants.ts';
import { createKeyPair } from '#platform/identity/key-pair.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type TestIssuer, testIssuer } from '#test/support/identity.ts';
import { type StewardDatabase, stewardDatabase } from '#test/support/steward-database.ts';

const MAIN = fileURLToPath(new URL('./main.ts', import.meta.url));

let database: StewardDatabase;
let issuer: TestIssuer;
let directory: string;
let runApi: Awaited<ReturnType<typeof createKeyPair>>;
let env: Record<string, string>;

beforeAll(async () => {
  database = await stewardDatabase();
  issuer = await testIssuer();
  directory = await mkdtemp(join(tmpdir(), 'steward-guard-'));
  const jwks = join(directory, 'issuer.json');
  const token = join(directory, 'desk.token');
  await writeFile(jwks, JSON.stringify(issuer.jwks));
  await writeFile(token, await issuer.token({ tenant: '', subject: 'guard', roles: ['worker'] }));
  runApi = await createKeyPair(directory, 'run-api');
  const guard = await createKeyPair(directory, 'guard');
  env = {
    DATABASE_URL: await database.urlAs('steward_guard'),
    STEWARD_AUTH_ISSUER: issuer.issuer,
    STEWARD_AUTH_AUDIENCE: issuer.audience,
    STEWARD_AUTH_JWKS: jwks,
    STEWARD_RUN_GRANT_JWKS: runApi.jwksPath,
    STEWARD_GUARD_KEY_FILE: guard.privatePath,
    STEWARD_CATALOG_TOKEN_DIR: directory,
    STEWARD_CATALOGS: `desk=127.0.0.1:${await freePort()}`,
    TEMPORAL_ADDRESS: `127.0.0.1:${await freePort()}`,
    TEMPORAL_NAMESPACE: 'steward',
    STEWARD_LOG_LEVEL: 'silent',
  };
}, 180_000);

afterAll(async () => {
  await rm(directory, { recursive: true });
  await database.drop();
});

/** The process, once it serves or has ended. */
async function start(change: Record<string, string>) {
  const child = spawn(process.execPath, [MAIN], { env: { ...env, ...change }, stdio: ['ignore', 'pipe', 'pipe'] });
  // Not 'exit': what it said last may come behind that.
  const exit = once(child, 'close').then(([code]) => code as unknown);
  let output = '';
  const serves = Promise.withResolvers<void>();
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk.toString();
      if (/^STEWARD_READY .*\n/m.test(output)) serves.resolve();
    });
  }
  await Promise.race([serves.promise, exit]);
  const ready = /^STEWARD_READY (.*)$/m.exec(output)?.[1];
  return {
    output: () => output,
    exit,
    address: ready === undefined ? '' : (JSON.parse(ready) as { address: string }).address,
    stop: () => {
      child.kill('SIGTERM');
      return exit;
    },
  };
}

async function health(address: string): Promise<Serving> {
  const { client, close } = connect(Health, { address });
  try {
    return (await client.check({})).status;
  } finally {
    close();
  }
}

test('serves as the role of the guard, says where, and ends on SIGTERM', async () => {
  const guard = await start({});
  expect(guard.address).toMatch(/^127\.0\.0\.1:\d+$/);
  expect(await health(guard.address)).toBe(Serving.SERVING);
  const tenant = await database.tenant();
  const token = () => issuer.token({ tenant, subject: 'bea@acme', roles: ['approver'] });
  const approvals = connect(ApprovalService, { address: guard.address, token });
  expect((await approvals.client.listApprovals({})).approvals).toEqual([]);
  approvals.close();
  expect(await guard.stop()).toBe(0);
});

test('without its database it starts, allows nothing, and says that it is not well', async () => {
  const guard = await start({ DATABASE_URL: `postgres://guard@127.0.0.1:${await freePort()}/steward` });
  expect(await health(guard.address)).toBe(Serving.NOT_SERVING);
  const tenant = await database.tenant();
  const grant = { tenant, run: 'run-12345', user: 'ann@acme', agent: 'helper', agentHash: 'a'.repeat(64) };
  const runGrant = await runGrantSigner(runApi.privateJwk).sign({
    ...grant,
    tools: {},
    resources: [],
    permissions: [],
  });
  const token = () => issuer.token({ tenant: '', subject: 'worker-1', roles: ['worker'] });
  const worker = connect(GuardService, { address: guard.address, token });
  const people = connect(ApprovalService, {
    address: guard.address,
    token: () => issuer.token({ tenant, subject: 'bea@acme', roles: ['approver'] }),
  });
  const decision = { approvalId: 'a', answer: Answer.APPROVE, digest: 'a'.repeat(64) };
  const digest = 'a'.repeat(64);
  const calls: Promise<unknown>[] = [
    worker.client.judge({ runGrant, turn: 1, calls: [] }),
    worker.client.authorize({ runGrant, callId: '1.0', digest }),
    worker.client.confirmDecision({ runGrant, approvalId: 'a' }),
    people.client.listApprovals({}),
    people.client.getApproval({ approvalId: 'a' }),
    people.client.decide({ requestId: 'r', decision }),
    people.client.decideAndWait({ requestId: 'r', decision }),
    people.client.signDecision({ decision }),
  ];
  for (const call of calls) expect((await stewardErrorOf(call)).code).toBe('UNAVAILABLE');
  worker.close();
  people.close();
  expect(await guard.stop()).toBe(0);
});

test('an environment that is not as it must be is named, piece by piece', async () => {
  const guard = await start({ STEWARD_GUARD_KEY_FILE: '', TEMPORAL_ADDRESS: '', STEWARD_CATALOGS: '' });
  expect(await guard.exit).toBe(1);
  for (const name of ['STEWARD_GUARD_KEY_FILE', 'TEMPORAL_ADDRESS', 'STEWARD_CATALOGS']) {
    expect(guard.output()).toContain(`${name} `);
  }
  const wrong = await start({ STEWARD_CATALOGS: 'desk' });
  expect(await wrong.exit).toBe(1);
  expect(JSON.parse(wrong.output())).toMatchObject({
    level: 'fatal',
    service: 'guard',
    err: { type: 'StewardError', message: expect.stringContaining('"desk" must be name=host:port') },
  });
  const keyless = await start({ STEWARD_GUARD_KEY_FILE: join(directory, 'nothing.json') });
  expect(await keyless.exit).toBe(1);
  expect(keyless.output()).toContain('cannot be read');
});
