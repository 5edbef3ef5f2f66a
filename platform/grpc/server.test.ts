import { once } from 'node:events';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { afterEach, expect, test } from '@jest/globals';
import { Status } from 'nice-grpc';
import { StewardError } from '#domain/errors.ts';
import { ErrorDetailSchema } from '#gen/steward/common/v1/error_pb.ts';
import {
  GetRunRequestSchema,
  RunService,
  type RunStatus,
  StartRunRequestSchema,
} from '#gen/steward/run/v1/run_service_pb.ts';
import { stewardErrorBy, stewardErrorOf } from '#test/support/errors.ts';
import { testIssuer } from '#test/support/identity.ts';
import { codeIn, keepLog, rawCall, serveRuns } from '#test/support/rpc.ts';
import { bind, type CallContext } from './bind.ts';
import { type Client, connect } from './client.ts';
import { MAX_MESSAGE_BYTES, type RunningServer, startServer } from './server.ts';

const issuer = await testIssuer();
const GET_RUN = '/steward.run.v1.RunService/GetRun';
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function serve(...args: Parameters<typeof serveRuns> extends [unknown, ...infer R] ? R : never) {
  const server = await serveRuns(issuer, ...args);
  cleanups.push(() => server.stop(0));
  return server;
}

function clientOf(server: RunningServer, token = () => issuer.token()): Client<typeof RunService> {
  const connection = connect(RunService, { address: server.address, token });
  cleanups.push(() => connection.close());
  return connection.client;
}

const getRun = (runId: string): Uint8Array => toBinary(GetRunRequestSchema, create(GetRunRequestSchema, { runId }));

async function authorized(): Promise<{ readonly authorization: string }> {
  return { authorization: `Bearer ${await issuer.token()}` };
}

test('a handler gets the decoded request, the principal and the call, and its answer arrives', async () => {
  let seen: CallContext | undefined;
  const server = await serve({
    async startRun(ctx, request) {
      seen = ctx;
      return { run: { id: 'r1', input: request.input, labels: request.labels }, repeated: true };
    },
  });
  const answer = await clientOf(server).startRun(
    { input: 'Grüße', labels: { team: 'a' }, narrowing: { budgetMicroUsd: 2n ** 60n } },
    { deadlineMs: 5_000, metadata: { 'x-trace': 't1' } },
  );
  expect(answer).toMatchObject({ run: { id: 'r1', input: 'Grüße', labels: { team: 'a' } }, repeated: true });
  expect(seen?.principal).toMatchObject({ tenant: 'acme', subject: 'ann@acme', roles: ['operator'] });
  expect(seen?.method).toBe('steward.run.v1.RunService/StartRun');
  expect(seen?.metadata.get('X-Trace')).toBe('t1');
  expect(seen?.signal.aborted).toBe(false);
  const left = (seen?.deadline.getTime() ?? 0) - Date.now();
  expect(left).toBeGreaterThan(1_000);
  expect(left).toBeLessThan(5_100);
});

test('every fault of a token has its status and code, and the handler is not reached', async () => {
  let reached = 0;
  const server = await serve({
    async getRun() {
      reached += 1;
      return {};
    },
  });
  const good = await issuer.token();
  const faults: readonly (readonly [string | undefined, number, string])[] = [
    [undefined, Status.UNAUTHENTICATED, 'TOKEN_MISSING'],
    ['', Status.UNAUTHENTICATED, 'TOKEN_INVALID'],
    ['Basic YTpi', Status.UNAUTHENTICATED, 'TOKEN_INVALID'],
    [good, Status.UNAUTHENTICATED, 'TOKEN_INVALID'],
    [`Bearer ${good}x`, Status.UNAUTHENTICATED, 'TOKEN_INVALID'],
    [`Bearer ${await issuer.token({}, -60)}`, Status.UNAUTHENTICATED, 'TOKEN_EXPIRED'],
    [`Bearer ${await issuer.token({ audience: 'other' })}`, Status.UNAUTHENTICATED, 'TOKEN_WRONG_AUDIENCE'],
    [`Bearer ${await (await testIssuer()).token()}`, Status.UNAUTHENTICATED, 'TOKEN_INVALID'],
    [`Bearer ${await issuer.token({ roles: ['user', 'worker'] })}`, Status.PERMISSION_DENIED, 'ROLE_MISSING'],
  ];
  for (const [authorization, status, code] of faults) {
    const answer = await rawCall(
      server.address,
      GET_RUN,
      getRun('r'),
      authorization === undefined ? {} : { authorization },
    );
    const detail = fromBinary(ErrorDetailSchema, answer.trailer ?? new Uint8Array());
    expect([answer.code, detail.code]).toEqual([status, code]);
    expect(detail.message).toBe(answer.text);
  }
  expect(reached).toBe(0);
  expect((await rawCall(server.address, GET_RUN, getRun('r'), { authorization: `bearer ${good}` })).code).toBe(
    Status.OK,
  );
});

test('keys that cannot be had refuse everyone', async () => {
  const verifier = { verify: async () => Promise.reject(new StewardError('UNAVAILABLE', 'no keys')) };
  const server = await serve({ getRun: async () => ({}) }, { verifier });
  expect(await rawCall(server.address, GET_RUN, getRun('r'), await authorized())).toMatchObject({
    code: Status.UNAVAILABLE,
  });
});

test('a method that is open needs no token', async () => {
  const server = await serve(
    { getRun: async (ctx) => ({ run: { startedBy: ctx.principal.subject } }) },
    { access: { getRun: 'open' } },
  );
  const connection = connect(RunService, { address: server.address });
  cleanups.push(() => connection.close());
  await expect(connection.client.getRun({})).resolves.toMatchObject({ run: { startedBy: 'anonymous' } });
});

test('a service without a handler or without roles does not start', async () => {
  const handlers = Object.fromEntries(RunService.methods.map((method) => [method.localName, async () => ({})]));
  const roles = Object.fromEntries(RunService.methods.map((method) => [method.localName, ['admin']]));
  const tries: readonly (readonly [object, object, string])[] = [
    [{ ...roles, cancelRun: undefined }, handlers, 'RunService/CancelRun has no roles'],
    [{ ...roles, cancelRun: [] }, handlers, 'RunService/CancelRun has no roles'],
    [{ ...roles, cancelRun: ['root'] }, handlers, 'RunService/CancelRun has no roles'],
    [roles, { ...handlers, watchRun: undefined }, 'RunService/WatchRun has no handler'],
  ];
  for (const [table, methods, message] of tries) {
    const options = { roles: table, handlers: methods } as unknown as Parameters<typeof bind<typeof RunService>>[1];
    expect((await stewardErrorBy(() => bind(RunService, options))).message).toContain(message);
  }
});

test('what the contract does not know is refused, at any depth, by path and number', async () => {
  const server = await serve({ startRun: async () => ({}), getRun: async () => ({}) });
  const headers = await authorized();
  const field = (no: number, bytes: Uint8Array): Uint8Array => Uint8Array.from([(no << 3) | 2, bytes.length, ...bytes]);
  const unknown = field(15, Uint8Array.of(1));
  const good = toBinary(StartRunRequestSchema, create(StartRunRequestSchema, { agent: 'a' }));
  const tries: readonly (readonly [Uint8Array, string, string])[] = [
    [Uint8Array.from([...good, ...unknown]), 'UNKNOWN_FIELD', 'steward.run.v1.StartRunRequest has no field number 15'],
    [field(7, unknown), 'UNKNOWN_FIELD', 'narrowing (steward.run.v1.Narrowing) has no field number 15'],
    [field(7, field(4, unknown)), 'UNKNOWN_FIELD', 'narrowing.limits (steward.run.v1.Limits) has no field number 15'],
    [field(7, field(4, field(5, unknown))), 'UNKNOWN_FIELD', 'narrowing.limits.active_time (google.protobuf.Duration)'],
    [Uint8Array.of(0xff), 'INVALID_REQUEST', 'The bytes sent are no steward.run.v1.StartRunRequest'],
    [field(3, Uint8Array.of(0xc3, 0x28)), 'INVALID_REQUEST', 'The bytes sent are no steward.run.v1.StartRunRequest'],
  ];
  for (const [bytes, code, message] of tries) {
    const answer = await rawCall(server.address, '/steward.run.v1.RunService/StartRun', bytes, headers);
    expect(answer.code).toBe(Status.INVALID_ARGUMENT);
    expect(answer.text).toContain(message);
    expect(codeIn(answer)).toBe(code);
  }
  const error = await stewardErrorOf(clientOf(server).listRuns({ statuses: [1, 99 as RunStatus] }));
  expect(error).toMatchObject({ code: 'INVALID_REQUEST', details: { field: 'statuses[1]', value: '99' } });
});

test('messages over the limit are refused in both directions, whoever sends them', async () => {
  const server = await serve({
    startRun: async (_ctx, request) => ({ run: { input: 'x'.repeat(Number(request.input)) } }),
    getRun: async () => ({}),
  });
  const client = clientOf(server);
  const over = MAX_MESSAGE_BYTES + 1;
  const sent = await rawCall(server.address, GET_RUN, getRun('x'.repeat(over)), await authorized());
  expect(sent.code).toBe(Status.RESOURCE_EXHAUSTED);
  expect(sent.text).toContain('The request is too large');
  expect(codeIn(sent)).toBe('TOO_LARGE');
  const huge = await rawCall(server.address, GET_RUN, getRun('x'.repeat(50 * over)), await authorized());
  expect(huge.code).toBe(Status.RESOURCE_EXHAUSTED);
  expect((await stewardErrorOf(client.getRun({ runId: 'x'.repeat(over) }))).code).toBe('TOO_LARGE');
  const answer = await stewardErrorOf(client.startRun({ input: String(over) }));
  expect(answer).toMatchObject({ code: 'TOO_LARGE', message: expect.stringContaining('The answer has') });
  await expect(client.startRun({ input: String(MAX_MESSAGE_BYTES - 100) })).resolves.toBeDefined();
  await expect(client.getRun({ runId: 'x'.repeat(MAX_MESSAGE_BYTES - 100) })).resolves.toBeDefined();
});

test('a StewardError arrives with its code, message and details; anything else says nothing of itself', async () => {
  const log = keepLog();
  const server = await serve(
    {
      async getRun(_ctx, request) {
        if (request.runId === 'secret') throw new Error('password=hunter2');
        if (request.runId === 'odd') return { run: { turns: 1.5 } };
        throw new StewardError('REQUEST_ID_REUSED', 'Grüße: 100% of it 😀\nline two', {
          details: { field: 'labels', count: 3, list: ['a'], none: undefined },
          cause: new Error('inner'),
        });
      },
    },
    { log },
  );
  const client = clientOf(server);
  expect(await stewardErrorOf(client.getRun({}))).toMatchObject({
    code: 'REQUEST_ID_REUSED',
    message: 'Grüße: 100% of it 😀\nline two',
    details: { field: 'labels', count: '3', list: '["a"]' },
  });
  const raw = await rawCall(server.address, GET_RUN, getRun(''), await authorized());
  expect(raw.code).toBe(Status.ALREADY_EXISTS);
  for (const runId of ['secret', 'odd']) {
    const answer = await rawCall(server.address, GET_RUN, getRun(runId), await authorized());
    expect(answer.code).toBe(Status.INTERNAL);
    expect(JSON.stringify([answer.text, Buffer.from(answer.trailer ?? []).toString()])).not.toContain('hunter2');
  }
  const errors = log.lines.filter((line) => line.level === 'error');
  expect(errors).toHaveLength(2);
  expect(String((errors[0]?.fields as { err?: unknown } | undefined)?.err)).toContain('hunter2');
});

test('an error of any length reaches clients that take 8 KiB of headers', async () => {
  const long = '😀ü\ud800"%'.repeat(5_000);
  const details = Object.fromEntries(Array.from({ length: 100 }, (_, index) => [`key${index}`, long]));
  const server = await serve({
    async getRun() {
      throw new StewardError('AGENT_INVALID', long, { details });
    },
  });
  const answer = await rawCall(server.address, GET_RUN, getRun(''), await authorized());
  expect(answer.code).toBe(Status.INVALID_ARGUMENT);
  const headerBytes = encodeURI(answer.text).length + ((answer.trailer?.length ?? 0) * 4) / 3;
  expect(headerBytes).toBeGreaterThan(3_000);
  expect(headerBytes).toBeLessThan(7_500);
  expect(await stewardErrorOf(clientOf(server).getRun({}))).toMatchObject({ code: 'AGENT_INVALID' });
});

test('a taken port is named', async () => {
  const server = await serve({});
  const options = { listen: server.address, services: [], verifier: issuer.verifier, log: keepLog() };
  const error = await stewardErrorOf(startServer(options));
  expect(error).toMatchObject({ code: 'UNAVAILABLE', message: expect.stringContaining(String(server.port)) });
  for (const listen of ['', 'localhost', '127.0.0.1:99999', ':80']) {
    expect((await stewardErrorOf(startServer({ ...options, listen }))).code).toBe('INVALID_REQUEST');
  }
});

test('stopping lets calls under way end, and cancels those that do not', async () => {
  const started = Promise.withResolvers<void>();
  const finish = Promise.withResolvers<void>();
  const server = await serve({
    async getRun() {
      started.resolve();
      await finish.promise;
      return { run: { id: 'done' } };
    },
  });
  const call = clientOf(server).getRun({});
  await started.promise;
  const stopped = server.stop(10_000);
  finish.resolve();
  await expect(call).resolves.toMatchObject({ run: { id: 'done' } });
  await stopped;

  const stubborn = Promise.withResolvers<void>();
  let ended = false;
  const second = await serve({
    async getRun(ctx) {
      stubborn.resolve();
      await once(ctx.signal, 'abort');
      ended = true;
      return {};
    },
  });
  const hanging = stewardErrorOf(clientOf(second).getRun({}));
  await stubborn.promise;
  await second.stop(50);
  expect(ended).toBe(true);
  expect(['CANCELLED', 'UNAVAILABLE']).toContain((await hanging).code);
});
