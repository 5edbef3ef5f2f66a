import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { spanIdOf, traceIdOf } from '#platform/telemetry/trace.ts';
import { type Collector, type GotSpan, startCollector } from '../support/otlp-collector.ts';
import { BEN, OLGA, type TestStack, testStack } from '../support/stack.ts';

/** The spans of runs as a collector gets them, over a worker that dies in between. */

let collector: Collector;
let s: TestStack;

beforeAll(async () => {
  collector = await startCollector();
  const env = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url, OTEL_BSP_SCHEDULE_DELAY: '100', STEWARD_LOG_LEVEL: 'info' };
  const names = ['run-api', 'guard', 'worker', 'projects', 'messaging', 'orders'];
  s = await testStack({ serviceEnv: Object.fromEntries(names.map((name) => [name, env])) });
}, 120_000);

afterAll(async () => {
  await s?.stop();
  await collector?.stop();
}, 60_000);

/** Within this a sweep has told what was left: 15 s of patience, its 30 s, and a busy machine. */
const SWEPT_MS = 120_000;
const CALLER = { trace: '0af7651916cd43dd8448eb211c80319c', span: 'b7ad6b7169203331' };

/** Spans of one trace by their ids. What a killed worker had told may be told again by the next: then it is the same span. */
function treeOf(trace: string): ReadonlyMap<string, GotSpan> {
  const tree = new Map<string, GotSpan>();
  for (const span of collector.spans.filter((one) => one.trace === trace)) {
    expect({ ...span, ...tree.get(span.id) }).toEqual(span);
    tree.set(span.id, span);
  }
  return tree;
}

test('one tree for one run, whatever became of its worker, inside of its caller’s trace', async () => {
  const turns = [
    [{ tool: 'list_projects', args: {} }],
    [
      { tool: 'delete_task', args: { task_id: 'apl-105' } },
      { tool: 'get_task', args: { wrong: true } },
    ],
    [{ tool: 'update_task_status', args: { task_id: 'apl-102', status: 'done' } }],
  ];
  const agent = await s.applyAgent();
  const { run: started } = await s
    .as({ ...BEN, roles: ['operator'] })
    .runs.startRun(
      { requestId: 'traced-1', agent, input: `Go\nparams: ${JSON.stringify({ turns })}` },
      { metadata: { traceparent: `00-${CALLER.trace}-${CALLER.span}-01` } },
    );
  const run = started?.id ?? '';
  expect(started?.traceId).toBe(CALLER.trace);
  await s.until(run, (event) => event.kind === 'approval.asked');
  process.kill(s.stack.service('worker').pid, 'SIGKILL');
  await s.stack.restart('worker');
  await s.decide(run, 'approve', OLGA);
  const closed = await s.closed(run);
  expect(closed).toMatchObject({ turns: 4, traceId: CALLER.trace });
  const isOver = (spans: readonly GotSpan[]) =>
    spans.some((span) => span.id === spanIdOf(run, 'run')) &&
    spans.filter((span) => span.trace === CALLER.trace && span.name.endsWith('/Execute')).length >= 3;
  // What a dead worker was about to tell is left to a sweep that comes every 30 s.
  await collector.until(isOver, SWEPT_MS);

  const tree = treeOf(CALLER.trace);
  const spans = [...tree.values()];
  const root = tree.get(spanIdOf(run, 'run'));
  expect(root).toMatchObject({
    service: 'steward-worker',
    parent: CALLER.span,
    name: `invoke_agent ${agent}`,
    failed: false,
    attributes: {
      'gen_ai.operation.name': 'invoke_agent',
      'steward.run.id': run,
      'steward.tenant': 'acme',
      'steward.run.status': 'completed',
      'steward.run.turns': 4,
      'steward.cost.micro_usd': Number(closed.cost?.settledMicroUsd),
    },
  });
  expect(spans.filter((span) => span.name.startsWith('invoke_agent'))).toHaveLength(1);
  const orphans = spans.filter((span) => span.parent !== CALLER.span && !tree.has(span.parent));
  expect(orphans).toEqual([]);

  const turnSpans = spans.filter((span) => span.name.startsWith('turn '));
  expect(turnSpans.map((span) => [span.id, span.parent]).toSorted()).toEqual(
    [1, 2, 3, 4].map((turn) => [spanIdOf(run, `turn/${turn}`), root?.id]).toSorted(),
  );
  for (const span of spans.filter((one) => one.service === 'steward-worker' && one !== root)) {
    expect(span.from).toBeGreaterThanOrEqual(root?.from ?? 0);
    expect(span.to).toBeLessThanOrEqual((root?.to ?? 0) + 5);
    expect(span.to).toBeGreaterThanOrEqual(span.from);
  }

  const models = spans.filter((span) => span.attributes['gen_ai.operation.name'] === 'chat');
  expect(
    models
      .filter((span) => !span.failed)
      .map((span) => span.parent)
      .toSorted(),
  ).toEqual(turnSpans.map((span) => span.id).toSorted());
  expect(models[0]).toMatchObject({
    kind: 3,
    attributes: {
      'gen_ai.provider.name': 'anthropic',
      'gen_ai.request.model': 'claude-sonnet-5-5',
      'gen_ai.usage.input_tokens': expect.any(Number),
      'gen_ai.usage.output_tokens': expect.any(Number),
      'steward.cost.micro_usd': expect.any(Number),
      'steward.attempt': 1,
      'steward.cached': expect.any(Boolean),
    },
  });

  const call = (id: string) => tree.get(spanIdOf(run, `call/${id}`));
  expect(call('1.0')).toMatchObject({
    parent: spanIdOf(run, 'turn/1'),
    name: 'execute_tool list_projects',
    failed: false,
    attributes: { 'steward.tool.catalog': 'projects', 'steward.tool.verdict': 'allow', 'steward.tool.state': 'done' },
  });
  expect(call('2.0')).toMatchObject({
    failed: false,
    attributes: { 'steward.tool.verdict': 'ask', 'steward.tool.state': 'done', 'steward.attempts': 1 },
  });
  expect(call('2.1')).toMatchObject({
    parent: spanIdOf(run, 'turn/2'),
    failed: true,
    attributes: { 'steward.tool.verdict': 'deny', 'error.type': 'ARGUMENTS_INVALID' },
  });
  const approvals = spans.filter((span) => span.attributes['steward.approval.id'] !== undefined);
  expect(approvals).toEqual([
    expect.objectContaining({
      parent: spanIdOf(run, 'turn/2'),
      name: 'approval delete_task',
      attributes: expect.objectContaining({
        'gen_ai.tool.call.id': '2.0',
        'steward.approval.tier': expect.any(Number),
        'steward.approval.outcome': 'approved',
        'steward.approval.decided_by': OLGA.subject,
      }),
    }),
  ]);
  // What guard and catalogs did stands under what they did it for.
  const served = (service: string, method: string) =>
    spans.filter((span) => span.service === service && span.name.endsWith(`/${method}`));
  expect(served('steward-projects', 'Execute').map((span) => span.parent)).toContain(spanIdOf(run, 'call/2.0'));
  expect(served('steward-guard', 'Judge').map((span) => span.parent)).toContain(spanIdOf(run, 'turn/2'));
  const judges = served('steward-guard', 'Judge').map((span) => span.id);
  expect(served('steward-projects', 'Preview').every((span) => judges.includes(span.parent))).toBe(true);
  expect(served('steward-projects', 'Preview')[0]).toMatchObject({ kind: 2 });

  const log = (await readFile(s.stack.service('worker').logFile, 'utf8')).split('\n');
  const end = log.filter((line) => line.includes('"run closed"')).map((line) => JSON.parse(line) as object);
  expect(end).toEqual([expect.objectContaining({ run, trace: CALLER.trace })]);
}, 240_000);

test('a run of its own trace: what the provider turned away is a failed call beside the one that answered', async () => {
  const run = await s.start(await s.applyAgent({ script: 'overloaded' }), 'Go\nparams: {"attempts": 1}');
  const closed = await s.closed(run.id);
  const trace = traceIdOf(run.id);
  expect(closed.traceId).toBe(trace);
  await collector.until((spans) => spans.some((span) => span.id === spanIdOf(run.id, 'run')), SWEPT_MS);
  const tree = treeOf(trace);
  expect(tree.get(spanIdOf(run.id, 'run'))?.parent).toBe('');
  const models = [...tree.values()].filter((span) => span.name.startsWith('chat '));
  expect(models.toSorted((a, b) => a.from - b.from)).toEqual([
    expect.objectContaining({
      failed: true,
      attributes: expect.objectContaining({ 'error.type': 'MODEL_OVERLOADED', 'steward.attempt': 1 }),
    }),
    expect.objectContaining({ failed: false, attributes: expect.objectContaining({ 'steward.attempt': 2 }) }),
  ]);
}, 180_000);
