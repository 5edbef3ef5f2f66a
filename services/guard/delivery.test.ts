import { setTimeout as delay } from 'node:timers/promises';
import { timestampMs } from '@bufbuild/protobuf/wkt';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { DefaultLogger, NativeConnection, Runtime, Worker } from '@temporalio/worker';
import type { RunningTemporal } from '#deploy/dev/temporal.ts';
import { isStewardError } from '#domain/errors.ts';
import type { RunActivities } from '#domain/ports/run-activities.ts';
import { RUN_TASK_QUEUE, RUN_WORKFLOW, type RunOutput, type RunStateView } from '#domain/run-workflow.ts';
import { Answer } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { ApprovalState, type JudgedCall } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { connectTemporal, type Temporal } from '#platform/temporal/client.ts';
import { buildBundle } from '#services/worker/bundle.ts';
import { stewardErrorOf } from '#test/support/errors.ts';
import { type Bench, type BenchRun, guardBench } from '#test/support/guard/bench.ts';
import { testTemporal } from '#test/support/temporal.ts';

let server: RunningTemporal;
let bench: Bench;
let temporal: Temporal;
let worker: Worker;
let working: Promise<void>;
let connection: NativeConnection;

/** Runs by id, for the activities below. */
const runs = new Map<string, BenchRun>();
/** What `think` waits for before its verdicts reach the run. */
const gates = new Map<string, Promise<void>>();
const outcomes: string[] = [];

const STATES = {
  [ApprovalState.UNSPECIFIED]: 'open',
  [ApprovalState.OPEN]: 'open',
  [ApprovalState.APPROVED]: 'approved',
  [ApprovalState.DENIED]: 'denied',
  [ApprovalState.EXPIRED]: 'expired',
  [ApprovalState.VOID]: 'void',
} as const;

/** The run's activities with nothing but the guard behind them: one turn that asks, and one that ends. */
const activities: RunActivities = {
  async think({ run: id, turn }) {
    if (turn > 1) return { kind: 'final', tokens: 1, costMicroUsd: 0 };
    const call = await runOf(id).ask();
    await gates.get(id);
    const judged = {
      id: call.callId,
      tool: 'delete_note',
      verdict: 'ask',
      approval: call.approvalId,
      digest: call.digest,
      expiresAt: call.expiresAt ? timestampMs(call.expiresAt) : 0,
      sig: 'sig',
    } as const;
    return { kind: 'calls', calls: [judged], tokens: 1, costMicroUsd: 0 };
  },
  async act({ run: id, call: callId, digest }) {
    const { attempt } = await bench.worker.authorize({ runGrant: runOf(id).runGrant, callId, digest });
    outcomes.push(`${id} ${attempt}`);
    return { outcome: 'done' };
  },
  async confirmDecision({ run: id, approval, signed }) {
    const request = { runGrant: runOf(id).runGrant, approvalId: approval, signedDecision: signed ?? '' };
    try {
      return { state: STATES[(await bench.worker.confirmDecision(request)).state as keyof typeof STATES] };
    } catch (error) {
      if (isStewardError(error) && error.code === 'DECISION_FORGED') return { state: 'open', forged: true };
      throw error;
    }
  },
  closeRun: async () => ({ costMicroUsd: 0, steps: 0, unknown: 0 }),
};

function runOf(id: string): BenchRun {
  const run = runs.get(id);
  if (!run) throw new Error(`no run ${id}`);
  return run;
}

beforeAll(async () => {
  const logger = new DefaultLogger('ERROR');
  Runtime.install({ logger, shutdownSignals: [], telemetryOptions: { logging: { forward: {}, filter: 'ERROR' } } });
  server = await testTemporal();
  bench = await guardBench({ temporal: server });
  temporal = connectTemporal({ address: server.address, namespace: server.namespace });
  connection = await NativeConnection.connect({ address: server.address });
  worker = await Worker.create({
    connection,
    namespace: server.namespace,
    taskQueue: RUN_TASK_QUEUE,
    workflowBundle: { code: await buildBundle() },
    activities,
  });
  working = worker.run();
}, 240_000);

afterAll(async () => {
  if (worker.getState() === 'RUNNING') worker.shutdown();
  await working;
  await connection.close();
  await bench.stop();
  await temporal.close();
  await server.stop();
}, 60_000);

const handleOf = (run: BenchRun) => temporal.client.workflow.getHandle(`run/${run.id}`);

async function start(gate: Promise<void> | null = null): Promise<BenchRun> {
  const run = await bench.run();
  runs.set(run.id, run);
  if (gate !== null) gates.set(run.id, gate);
  const limits = { modelCalls: 20, toolCalls: 50, toolCallsPerTurn: 10, tokens: 1_000_000, activeMs: 3_600_000 };
  const waits = { approvalMs: 60_000, budgetMs: 60_000, pauseMs: 60_000 };
  await temporal.client.workflow.start(RUN_WORKFLOW, {
    taskQueue: RUN_TASK_QUEUE,
    workflowId: `run/${run.id}`,
    args: [{ tenant: run.tenant, run: run.id, agent: 'helper', limits, waits }],
  });
  return run;
}

/** Until the guard has a question of the run's, whether or not the run knows it already. */
async function question(run: BenchRun): Promise<Pick<JudgedCall, 'approvalId' | 'digest'>> {
  return until(async () => {
    const [row] = await run.rows('approvals');
    return row ? { approvalId: row.id as string, digest: row.digest as string } : undefined;
  });
}

/** Until the run waits for its answer. */
const asking = (run: BenchRun) =>
  until(async () => {
    const view = await handleOf(run).query<RunStateView>('state');
    return view.waitingFor.length > 0 ? view : undefined;
  });

async function until<T>(look: () => Promise<T | undefined>): Promise<T> {
  const deadline = Date.now() + 30_000;
  while (Date.now() < deadline) {
    const found = await look();
    if (found !== undefined) return found;
    await delay(20);
  }
  throw new Error('never came about');
}

const people = (run: BenchRun, subject = 'bea@acme') => bench.person(run.tenant, subject, ['approver']);
const decisionOn = async (run: BenchRun, answer: Answer = Answer.APPROVE) => ({ ...(await question(run)), answer });

test('DecideAndWait says that the run has applied the answer, also when it is asked again', async () => {
  const run = await start();
  await asking(run);
  const request = { requestId: 'r', decision: await decisionOn(run) };
  const first = await people(run).decideAndWait(request);
  expect(first).toMatchObject({ applied: true, approval: { state: ApprovalState.APPROVED, decidedBy: 'bea@acme' } });
  expect(await handleOf(run).result()).toMatchObject({ status: 'completed', toolCalls: 1 });
  expect((await run.rows('outbox'))[0]).toMatchObject({ delivered_at: expect.any(Date) });
  expect(await people(run).decideAndWait(request)).toMatchObject({ applied: true, decisionId: first.decisionId });
  expect(outcomes.filter((line) => line.startsWith(run.id))).toEqual([`${run.id} 1`]);
});

test('Decide reaches the run as a signal', async () => {
  const run = await start();
  await asking(run);
  await people(run).decide({ requestId: 'r', decision: await decisionOn(run, Answer.DENY) });
  const output: RunOutput = await handleOf(run).result();
  expect(output.status).toBe('completed');
  expect((await run.rows('outbox'))[0]).toMatchObject({ delivered_at: expect.any(Date), last_error: null });
  expect(outcomes.filter((line) => line.startsWith(run.id))).toEqual([]);
});

test('a signed decision put into the signal by hand is heard; forged and foreign ones before it are not', async () => {
  const [run, other] = [await start(), await start()];
  await Promise.all([asking(run), asking(other)]);
  const signed = await people(run).signDecision({ decision: await decisionOn(run) });
  const foreign = await people(other).signDecision({ decision: await decisionOn(other) });
  const payload = JSON.parse(signed.signalJson);
  const handle = temporal.client.workflow.getHandle(signed.workflowId);
  await handle.signal('decideApproval', { ...payload, signed: `${payload.signed.slice(0, -4)}AAAA` });
  await handle.signal('decideApproval', { ...payload, signed: foreign.signedDecision });
  await handle.signal('decideApproval', { ...payload, digest: 'f'.repeat(64) });
  await handle.signal('decideApproval', { ...payload, signed: 'x'.repeat(10_000) });
  await until(async () => {
    const refused = (await run.rows('events')).filter((event) => event.kind === 'approval.refused');
    return refused.length === 2 ? refused : undefined;
  });
  expect(await run.rows('decisions')).toEqual([]);
  await handle.signal('decideApproval', payload);
  expect(await handle.result()).toMatchObject({ status: 'completed', toolCalls: 1 });
  expect((await run.rows('decisions'))[0]).toMatchObject({ via: 'signed', decided_by: 'bea@acme' });
  expect(await other.rows('decisions')).toEqual([]);
  await handleOf(other).terminate();
});

test('an answer that comes before the run knows its own question is applied all the same', async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const [run, waiting] = [await start(promise), await start(promise)];
  await people(run).decide({ requestId: 'r', decision: await decisionOn(run) });
  const early = people(waiting).decideAndWait({ requestId: 'r', decision: await decisionOn(waiting) });
  await until(async () => ((await waiting.rows('decisions')).length === 1 ? true : undefined));
  resolve();
  expect(await handleOf(run).result()).toMatchObject({ status: 'completed', toolCalls: 1 });
  expect(await handleOf(waiting).result()).toMatchObject({ status: 'completed', toolCalls: 1 });
  expect(await early).toMatchObject({ approval: { state: ApprovalState.APPROVED } });
}, 20_000);

test('a run that does not take an answer in time leaves it recorded, and the caller hears so', async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  const run = await start(promise);
  const decision = await decisionOn(run);
  worker.shutdown();
  await until(async () => (worker.getState() === 'RUNNING' ? undefined : true));
  const work = people(run).decideAndWait({ requestId: 'r', decision }, { deadlineMs: 3_000 });
  expect((await stewardErrorOf(work)).code).toBe('DEADLINE');
  expect(await run.rows('decisions')).toHaveLength(1);
  expect((await run.rows('outbox'))[0]).toMatchObject({ delivered_at: null });
  resolve();
  await handleOf(run).terminate();
});
