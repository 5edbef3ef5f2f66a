import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { freePort } from '#deploy/dev/ports.ts';
import { Health, HealthCheckResponse_ServingStatus as Serving } from '#gen/grpc/health/v1/health_pb.ts';
import { RunService, RunStatus } from '#gen/steward/run/v1/run_service_pb.ts';
import { connect } from '#platform/grpc/client.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type RunApiBench, runApiBench } from '#test/support/run-api.ts';

let bench: RunApiBench;

beforeAll(async () => {
  bench = await runApiBench();
}, 120_000);

afterAll(() => bench.stop(), 60_000);

interface Started {
  readonly child: ChildProcess;
  readonly address: string;
  readonly ended: Promise<number | null>;
}

async function startProcess(env: Readonly<Record<string, string>>): Promise<Started> {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'main.ts')], {
    env: { PATH: process.env.PATH ?? '', ...bench.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const ended = new Promise<number | null>((done) => child.once('exit', done));
  for await (const line of createInterface({ input: child.stdout })) {
    const ready = /^STEWARD_READY (.*)$/.exec(line);
    if (ready) return { child, address: (JSON.parse(ready[1] as string) as { address: string }).address, ended };
  }
  throw new Error(`run-api ended with ${await ended} and never was ready`);
}

test('says where it serves, serves health and reflection, and ends with 0 on SIGTERM while streams are open', async () => {
  const { child, address, ended } = await startProcess({ STEWARD_REFLECTION: '1' });
  const tenant = await bench.database.tenant();
  const run = await bench.database.run(tenant);
  const health = connect(Health, { address });
  expect((await health.client.check({ service: 'steward.run.v1.RunService' })).status).toBe(Serving.SERVING);
  const runs = connect(RunService, { address, token: () => bench.issuer.token({ tenant }) });
  const stream = runs.client.watchRun({ runId: run })[Symbol.asyncIterator]();
  const next = stream.next();
  // It has been taken up once another call on the same connection is answered.
  expect((await runs.client.getRun({ runId: run })).run?.id).toBe(run);
  child.kill('SIGTERM');
  expect((await stewardErrorOf(next)).code).toBe('UNAVAILABLE');
  expect(await ended).toBe(0);
  health.close();
  runs.close();
});

test('starts while database and Temporal are away, and says so to callers', async () => {
  const url = new URL(bench.env.DATABASE_URL ?? '');
  url.port = String(await freePort());
  const { child, address, ended } = await startProcess({ DATABASE_URL: url.href });
  const health = connect(Health, { address });
  expect((await health.client.check({})).status).toBe(Serving.NOT_SERVING);
  const runs = connect(RunService, { address, token: () => bench.issuer.token({ tenant: 'acme' }) });
  const error = await stewardErrorOf(runs.client.startRun({ requestId: 'x', agent: 'helper', input: 'x' }));
  expect(error.code).toBe('UNAVAILABLE');
  child.kill('SIGTERM');
  expect(await ended).toBe(0);
  health.close();
  runs.close();
});

test('a start while Temporal is away is kept, and answered within its patience', async () => {
  const tenant = await bench.tenant();
  const began = performance.now();
  const run = await bench.start(tenant);
  expect(performance.now() - began).toBeLessThan(6_000);
  expect(run.status).toBe(RunStatus.PENDING);
  const [owed] = await bench.database.query(
    'select kind, delivered_at, attempts from steward.outbox where run_id = $1',
    [run.id],
  );
  expect(owed).toEqual({ kind: 'start', delivered_at: null, attempts: 1 });
});

test('a wrong environment is named before anything starts', async () => {
  const child = spawn(process.execPath, [join(import.meta.dirname, 'main.ts')], {
    env: { PATH: process.env.PATH ?? '', STEWARD_CATALOGS: 'x' },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString('utf8');
  });
  expect(await new Promise((done) => child.once('close', done))).toBe(1);
  for (const name of ['DATABASE_URL', 'STEWARD_RUN_GRANT_KEY_FILE', 'TEMPORAL_ADDRESS', 'STEWARD_AUTH_JWKS']) {
    expect(said).toContain(`${name} is missing`);
  }
});
