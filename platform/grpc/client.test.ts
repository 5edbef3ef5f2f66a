import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer as createHttp2 } from 'node:http2';
import { type AddressInfo, createServer as createTcp, type Server } from 'node:net';
import { join } from 'node:path';
import { Server as GrpcServer, ServerCredentials, status } from '@grpc/grpc-js';
import { afterEach, expect, test } from '@jest/globals';
import { StewardError } from '#domain/errors.ts';
import { Health } from '#gen/grpc/health/v1/health_pb.ts';
import { RunService } from '#gen/steward/run/v1/run_service_pb.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { testIssuer } from '#test/support/identity.ts';
import { keepLog, serveRuns } from '#test/support/rpc.ts';
import { type Client, type ConnectOptions, connect } from './client.ts';
import { startServer } from './server.ts';

const issuer = await testIssuer();
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

function clientAt(address: string, options: Partial<ConnectOptions> = {}): Client<typeof RunService> {
  const connection = connect(RunService, { address, token: () => issuer.token(), ...options });
  cleanups.push(() => connection.close());
  return connection.client;
}

async function addressOf(server: Server): Promise<string> {
  if (!server.listening) await once(server, 'listening');
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** An address where nothing listens. */
async function deadAddress(): Promise<string> {
  const server = createTcp().listen(0, '127.0.0.1');
  const address = await addressOf(server);
  server.close();
  await once(server, 'close');
  return address;
}

/** A foreign gRPC server that answers GetRun with whatever bytes or status it is given. */
async function foreign(answer: Buffer | { code: status; details: string }): Promise<string> {
  const same = (bytes: Buffer): Buffer => bytes;
  const server = new GrpcServer({ 'grpc.max_send_message_length': -1 });
  const method = {
    path: '/steward.run.v1.RunService/GetRun',
    requestStream: false,
    responseStream: false,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  } as const;
  server.addService(
    { getRun: method },
    {
      getRun: (_call: unknown, reply: (error: object | null, bytes?: Buffer) => void) =>
        Buffer.isBuffer(answer) ? reply(null, answer) : reply(answer),
    },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  cleanups.push(() => server.forceShutdown());
  return `127.0.0.1:${port}`;
}

test('an address where nothing listens is named at once', async () => {
  const address = await deadAddress();
  const started = performance.now();
  const error = await stewardErrorOf(clientAt(address, { name: 'the guard' }).getRun({}));
  expect(error).toMatchObject({
    code: 'UNAVAILABLE',
    message: expect.stringContaining(`the guard cannot be reached at ${address}`),
  });
  expect(performance.now() - started).toBeLessThan(5_000);
});

test('a peer that accepts and says nothing costs the deadline and no more', async () => {
  const server = createTcp((socket) => {
    socket.on('error', () => {});
    cleanups.push(() => socket.destroy());
  }).listen(0, '127.0.0.1');
  cleanups.push(() => server.close());
  const client = clientAt(await addressOf(server));
  expect((await stewardErrorOf(client.getRun({}, { deadlineMs: 200 }))).code).toBe('DEADLINE');
});

test('peers that speak no gRPC are told from those that fail', async () => {
  const tcp = createTcp((socket) => socket.on('error', () => {}).end('HTTP/1.1 400 Bad Request\r\n\r\n')).listen(
    0,
    '127.0.0.1',
  );
  const web = createHttp2((_request, response) => response.writeHead(404).end('no')).listen(0, '127.0.0.1');
  cleanups.push(
    () => tcp.close(),
    () => web.close(),
  );
  expect((await stewardErrorOf(clientAt(await addressOf(tcp)).getRun({}))).code).toBe('UNAVAILABLE');
  expect((await stewardErrorOf(clientAt(await addressOf(web)).getRun({}))).code).toBe('UNIMPLEMENTED');
});

test('answers of a foreign server: garbage, 50 MB, and plain statuses', async () => {
  const answers: readonly (readonly [Parameters<typeof foreign>[0], string])[] = [
    [Buffer.from([0xff, 0xff, 0xff]), 'INTERNAL'],
    [Buffer.alloc(50_000_000), 'TOO_LARGE'],
    [{ code: status.PERMISSION_DENIED, details: 'no' }, 'NOT_PERMITTED'],
    [{ code: status.NOT_FOUND, details: 'none' }, 'NOT_FOUND'],
    [{ code: status.UNAUTHENTICATED, details: 'who' }, 'TOKEN_INVALID'],
    [{ code: status.RESOURCE_EXHAUSTED, details: 'quota' }, 'LIMIT_REACHED'],
    [{ code: status.ALREADY_EXISTS, details: 'key' }, 'KEY_REUSED'],
    [{ code: status.FAILED_PRECONDITION, details: 'not now' }, 'WRONG_STATE'],
    [{ code: status.ABORTED, details: 'maybe' }, 'OUTCOME_UNKNOWN'],
    [{ code: status.UNKNOWN, details: 'oops' }, 'INTERNAL'],
    [{ code: status.DATA_LOSS, details: 'oops' }, 'INTERNAL'],
    [{ code: status.UNIMPLEMENTED, details: 'later' }, 'UNIMPLEMENTED'],
  ];
  for (const [answer, code] of answers) {
    const address = await foreign(answer);
    const error = await stewardErrorOf(clientAt(address).getRun({}));
    expect([code, error.code]).toEqual([code, code]);
    expect(error.message).toContain(address);
  }
});

test('the token is asked for before every call, within its deadline, and its failure is the call’s', async () => {
  const subjects = ['ann', 'bob'];
  const server = await serveRuns(issuer, { getRun: async (ctx) => ({ run: { startedBy: ctx.principal.subject } }) });
  cleanups.push(() => server.stop(0));
  const client = clientAt(server.address, { token: () => issuer.token({ subject: subjects.shift() ?? 'eve' }) });
  expect((await client.getRun({})).run?.startedBy).toBe('ann');
  expect((await client.getRun({})).run?.startedBy).toBe('bob');
  const failing = clientAt(server.address, {
    token: () => Promise.reject(new StewardError('TOKEN_MISSING', 'log in first')),
  });
  expect((await stewardErrorOf(failing.getRun({}))).message).toBe('log in first');
  const hanging = clientAt(server.address, { token: () => new Promise<string>(() => {}) });
  expect((await stewardErrorOf(hanging.getRun({}, { deadlineMs: 50 }))).code).toBe('DEADLINE');
  const aborted = await stewardErrorOf(client.getRun({}, { signal: AbortSignal.abort() }));
  expect(aborted.code).toBe('CANCELLED');
});

test('a request that does not encode is the caller’s mistake', async () => {
  const server = await serveRuns(issuer, { raiseBudget: async () => ({}) });
  cleanups.push(() => server.stop(0));
  const error = await stewardErrorOf(clientAt(server.address).raiseBudget({ addMicroUsd: 2n ** 70n }));
  expect(error.code).toBe('INVALID_REQUEST');
});

test('a long-lived signal does not collect listeners', async () => {
  const server = await serveRuns(issuer, { getRun: async () => ({}) });
  cleanups.push(() => server.stop(0));
  const client = clientAt(server.address);
  const { signal } = new AbortController();
  let listeners = 0;
  const add = signal.addEventListener.bind(signal);
  const remove = signal.removeEventListener.bind(signal);
  signal.addEventListener = (...args: Parameters<typeof add>) => {
    listeners += 1;
    add(...args);
  };
  signal.removeEventListener = (...args: Parameters<typeof remove>) => {
    listeners -= 1;
    remove(...args);
  };
  for (let call = 0; call < 20; call += 1) await client.getRun({}, { signal });
  expect(listeners).toBe(0);
});

test('a service that comes back is found within a second', async () => {
  const options = { services: [], verifier: issuer.verifier, log: keepLog() };
  const first = await startServer({ listen: '127.0.0.1:0', ...options });
  const connection = connect(Health, { address: first.address });
  cleanups.push(() => connection.close());
  await connection.client.check({});
  await first.stop(0);
  // Long enough down for the backoff to have grown to its longest.
  for (const end = Date.now() + 3_000; Date.now() < end; ) {
    expect((await stewardErrorOf(connection.client.check({}))).code).toBe('UNAVAILABLE');
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const second = await startServer({ listen: first.address, ...options });
  cleanups.push(() => second.stop(0));
  const back = performance.now();
  let found = false;
  while (!found && performance.now() - back < 10_000) {
    found = await connection.client.check({}).then(
      () => true,
      () => false,
    );
    if (!found) await new Promise((resolve) => setTimeout(resolve, 20));
  }
  expect(found).toBe(true);
  // One second and a fifth of jitter, and what two busy cores add.
  expect(performance.now() - back).toBeLessThan(2_500);
});

test('a server killed during a call is a lost connection', async () => {
  const path = (file: string): string => JSON.stringify(join(import.meta.dirname, file));
  const script = `const { startServer } = await import(${path('server.ts')});
    const log = { debug() {}, warn() {}, error() {} };
    const server = await startServer({ listen: '127.0.0.1:0', services: [], verifier: {}, log,
      health: () => { process.kill(process.pid, 'SIGKILL'); return true; } });
    console.log(server.address);`;
  const child: ChildProcess = spawn(process.execPath, ['--input-type=module', '--eval', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  cleanups.push(() => child.kill('SIGKILL'));
  const [line] = (await once(child.stdout ?? child, 'data')) as [Buffer];
  const connection = connect(Health, { address: line.toString().trim() });
  cleanups.push(() => connection.close());
  const error = await stewardErrorOf(connection.client.check({}));
  expect(error).toMatchObject({ code: 'UNAVAILABLE' });
});
