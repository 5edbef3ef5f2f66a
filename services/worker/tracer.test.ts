import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import { createTraceStore, type TraceStore } from '#platform/database/traces.ts';
import { spanIdOf, traceIdOf } from '#platform/telemetry/trace.ts';
import { startTracing, stopTracing, tracing } from '#platform/telemetry/tracing.ts';
import { type Collector, startCollector } from '#test/support/otlp-collector.ts';
import { keepLog } from '#test/support/rpc.ts';
import { type SeededRun, type SeedOptions, workerBench } from '#test/support/worker-bench.ts';
import { createTracer, type Tracer } from './tracer.ts';

let bench: Awaited<ReturnType<typeof workerBench>>;
let store: TraceStore;
let collector: Collector;
let log: ReturnType<typeof keepLog>;
const tracers: Tracer[] = [];

beforeAll(async () => {
  bench = await workerBench();
  store = createTraceStore(bench.db);
}, 120_000);

beforeEach(async () => {
  collector = await startCollector();
  log = keepLog();
});

afterEach(async () => {
  await Promise.all(tracers.splice(0).map((tracer) => tracer.close()));
  await stopTracing();
  await collector.stop();
});

afterAll(() => bench.stop(), 60_000);

/** The exporter reads the process's environment, and so do we. */
async function start(env: Readonly<Record<string, string>>): Promise<void> {
  for (const name of Object.keys(process.env)) if (name.startsWith('OTEL_')) delete process.env[name];
  Object.assign(process.env, env);
  await startTracing('worker', log);
}

async function tracer(env: Record<string, string> = {}): Promise<Tracer> {
  await start({ OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, ...env });
  const spans = tracing();
  if (spans === null) throw new Error('no tracing');
  const made = createTracer({ store, tracing: spans, log });
  tracers.push(made);
  return made;
}

/** A run of so many answered turns of one model call each. */
async function seed(turns: number, options: SeedOptions = {}): Promise<SeededRun> {
  const run = await bench.run({ ...options, columns: { status: 'running', turns, ...options.columns } });
  for (let turn = 1; turn <= turns; turn += 1) {
    await bench.database.query(
      `insert into steward.agent_run_costs (tenant, run_id, attempt_id, turn, model, state, month_account,
         reserved_micro_usd, settled_micro_usd, answered_by, deadline_at, ended_at)
       values ($1, $2, $3, $4, 'offline-1', 'settled', 'tenant-month/2026-11', 10, 7, 'offline-1', now(), now())`,
      [run.ref.tenant, run.ref.run, randomUUID(), turn],
    );
  }
  return run;
}

const close = (run: SeededRun, ago = '0 s') =>
  bench.database.query(
    `update steward.agent_runs set status = 'completed', closed_at = now() - $2::interval, created_at = now() - $2::interval
     where id = $1`,
    [run.ref.run, ago],
  );

const names = (run: SeededRun): string[] =>
  collector.spans.flatMap((span) => (span.trace === traceIdOf(run.ref.run) ? [span.name] : [])).toSorted();

const everything = (turns: number): string[] =>
  [
    'invoke_agent helper',
    ...Array.from({ length: turns }, (_, at) => [`turn ${at + 1}`, 'chat offline-1']).flat(),
  ].toSorted();

test('finished turns are told while the run goes on, each once, and the rest when it has closed', async () => {
  const run = await seed(130);
  const told = await tracer();
  told.note(run.ref);
  await collector.until(() => names(run).length >= 2 * 129);
  expect(names(run)).not.toContain('turn 130');
  told.note(run.ref);
  await close(run);
  told.note(run.ref);
  await collector.until((spans) => spans.some((span) => span.id === spanIdOf(run.ref.run, 'run')));
  expect(names(run)).toEqual(everything(130));
  const ids = collector.spans.map((span) => span.id);
  expect(new Set(ids).size).toBe(ids.length);
});

test('workers that tell of the same run at once tell each span once', async () => {
  const run = await seed(60);
  await close(run);
  const several = await Promise.all([tracer(), tracer(), tracer()]);
  for (const one of several) one.note(run.ref);
  await Promise.all(several.map((one) => one.close()));
  expect(names(run)).toEqual(everything(60));
});

test('a collector that is away costs the run nothing, and gets all of it when it is back', async () => {
  const run = await seed(3);
  await close(run);
  collector.answer(400);
  const told = await tracer();
  told.note(run.ref);
  await collector.until(() => collector.refused() > 0);
  await told.close();
  expect(names(run)).toEqual([]);
  expect(log.lines).toContainEqual(
    expect.objectContaining({ level: 'warn', message: expect.stringMatching(/not taken/) }),
  );
  collector.answer(200);
  await bench.database.query("update steward.agent_runs set closed_at = now() - interval '1 min' where id = $1", [
    run.ref.run,
  ]);
  const later = await tracer();
  expect(await later.sweep(run.ref.tenant)).toBe(1);
  await later.close();
  expect(names(run)).toEqual(everything(3));
  expect(await later.sweep(run.ref.tenant)).toBe(0);
});

test('a run whose worker died as it closed is told by another, until a day later', async () => {
  const run = await seed(2);
  const old = await seed(1, { tenant: run.ref.tenant });
  const told = await tracer();
  for (const one of [run, old]) await told.expect(one.ref);
  await close(run, '1 min');
  await close(old, '25 h');
  expect(await told.sweep(run.ref.tenant)).toBe(2);
  await told.close();
  expect(names(run)).toEqual(everything(2));
  expect(names(old)).toEqual([]);
  expect(log.lines).toContainEqual(
    expect.objectContaining({
      fields: expect.objectContaining({ run: old.ref.run }),
      message: expect.stringMatching(/a day/),
    }),
  );
  expect(await told.sweep(run.ref.tenant)).toBe(0);
});

test('what is not sampled is not told: by the caller, or by ratio', async () => {
  const parent = `00-${'a'.repeat(32)}-${'b'.repeat(16)}`;
  const unsampled = await seed(1, { columns: { trace_parent: `${parent}-00` } });
  const sampled = await seed(1, { columns: { trace_parent: `${parent}-01` } });
  const own = await seed(1);
  const env = { OTEL_TRACES_SAMPLER: 'parentbased_traceidratio', OTEL_TRACES_SAMPLER_ARG: '0' };
  const told = await tracer(env);
  for (const run of [unsampled, sampled, own]) {
    await close(run);
    told.note(run.ref);
  }
  await told.close();
  expect(collector.spans.map((span) => [span.id, span.parent])).toContainEqual([
    spanIdOf(sampled.ref.run, 'run'),
    'b'.repeat(16),
  ]);
  expect(collector.spans).toHaveLength(3);
});

test('without an endpoint, and where tracing is switched off, there is none; what cannot be is said', async () => {
  const OTEL_EXPORTER_OTLP_ENDPOINT = collector.url;
  for (const env of [
    {},
    { OTEL_EXPORTER_OTLP_ENDPOINT: '' },
    { OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_SDK_DISABLED: 'true' },
    { OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_TRACES_EXPORTER: 'none' },
  ]) {
    await start(env);
    expect(tracing()).toBeNull();
  }
  for (const [env, said] of [
    [{ OTEL_EXPORTER_OTLP_PROTOCOL: 'grpc' }, /is grpc/],
    [{ OTEL_TRACES_SAMPLER: 'sometimes' }, /OTEL_TRACES_SAMPLER must be/],
    [{ OTEL_TRACES_SAMPLER: 'traceidratio', OTEL_TRACES_SAMPLER_ARG: '7' }, /0 to 1; it is 7/],
  ] as const) {
    await expect(start({ OTEL_EXPORTER_OTLP_ENDPOINT, ...env })).rejects.toThrow(said);
  }
});
