/**
 * Records histories of runs on a real Temporal for the replay corpus: `node test/record-histories.ts [case …]`. Adds
 * files and their lines in the manifest; what is recorded already is left alone.
 */

import { createHash, randomUUID } from 'node:crypto';
import { access, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { REPOSITORY } from '#deploy/dev/paths.ts';
import { workflowIdOf } from '#domain/ids.ts';
import { RUN_TASK_QUEUE, RUN_WORKFLOW, type RunInput } from '#domain/run-workflow.ts';
import { undoWorkflowIdOf } from '#domain/undo.ts';
import { DESK, OLGA, type TestStack, testStack } from './support/stack.ts';

const FOLDER = join(import.meta.dirname, 'histories');
const MANIFEST = join(import.meta.dirname, 'histories', 'manifest.json');
/** The release whose histories these are. */
const RELEASE = '0.1.0';

interface Shape {
  readonly what: string;
  /**
   * Plays a run to its end; returns its id, and which execution of its chain, or which other workflow, to record where
   * that is not the run's last.
   */
  play(s: TestStack): Promise<string | Played>;
}

interface Played {
  readonly run: string;
  readonly execution?: string;
  readonly workflow?: string;
}

const plan = (turns: unknown, final = 'Done.') => `params: ${JSON.stringify({ turns, final })}`;
const read = { tool: 'list_projects', args: {} };
const create = (title: string) => ({ tool: 'create_task', args: { project_id: 'apollo', title } });
const remove = (task_id: string) => ({ tool: 'delete_task', args: { task_id } });

async function played(
  s: TestStack,
  input: string,
  options: Parameters<TestStack['applyAgent']>[0] = {},
): Promise<string> {
  const run = await s.start(await s.applyAgent(options), input);
  await s.closed(run.id);
  return run.id;
}

const asked = (event: { kind: string }) => event.kind === 'approval.asked';

const SHAPES: Readonly<Record<string, Shape>> = {
  'final-answer': { what: 'one model call, no tools', play: (s) => played(s, 'Hello', { script: 'echo' }) },
  'parallel-calls': {
    what: 'reads side by side, then two effects, then the answer',
    play: (s) =>
      played(
        s,
        plan([
          [read, read],
          [create('one'), create('two')],
        ]),
      ),
  },
  'approved-and-denied': {
    what: 'two destructive calls of one turn, one approved, one denied',
    async play(s) {
      const run = await s.start(
        await s.applyAgent(),
        plan([
          [create('doomed'), create('kept')],
          [remove('apl-104'), remove('apl-107')],
        ]),
      );
      await s.until(run.id, asked);
      await s.decide(run.id, 'approve');
      await s.until(run.id, (event) => event.kind === 'approval.decided');
      await s.decide(run.id, 'deny');
      await s.closed(run.id);
      return run.id;
    },
  },
  'approval-expired': {
    what: 'a destructive call nobody decides about in time',
    play: (s) => played(s, plan([[remove('apl-104')]]), { waits: { approval: '2s' } }),
  },
  'cancelled-while-waiting': {
    what: 'cancelled while an approval is open',
    async play(s) {
      const run = await s.start(await s.applyAgent(), plan([[remove('apl-104')]]));
      await s.until(run.id, asked);
      await s.as(OLGA).runs.cancelRun({ runId: run.id, requestId: randomUUID(), reason: 'recorded' });
      await s.closed(run.id);
      return run.id;
    },
  },
  'budget-raised': {
    what: 'out of budget, raised, goes on',
    async play(s) {
      const run = await s.start(await s.applyAgent({ budget: '$0.001' }), plan([[read]]));
      await s.until(run.id, (event) => event.kind === 'budget.exhausted');
      await s
        .as(OLGA)
        .runs.raiseBudget({ runId: run.id, requestId: randomUUID(), addMicroUsd: 400_000n, reason: 'recorded' });
      await s.closed(run.id);
      return run.id;
    },
  },
  'paused-and-resumed': {
    what: 'paused while an approval is open, decided, resumed',
    async play(s) {
      const run = await s.start(await s.applyAgent(), plan([[remove('apl-108')], [read]]));
      await s.until(run.id, asked);
      await s.as(OLGA).runs.pauseRun({ runId: run.id, requestId: randomUUID(), reason: 'recorded' });
      await s.decide(run.id, 'deny');
      await s.until(run.id, (event) => event.kind === 'approval.decided');
      await s.as(OLGA).runs.resumeRun({ runId: run.id, requestId: randomUUID() });
      await s.closed(run.id);
      return run.id;
    },
  },
  stuck: { what: 'the same call five times in a row', play: (s) => played(s, 'Go', { script: 'stuck' }) },
  'unknown-tool': {
    what: 'asks twice for a tool it does not have',
    play: (s) => played(s, 'Go', { script: 'unknown-tool' }),
  },
  'model-refusal': { what: 'the model declines', play: (s) => played(s, 'Go', { script: 'refusal' }) },
  'continued-as-new': {
    what: 'the first execution of a run that continues as new after each turn',
    async play(s) {
      // Nobody but this script sets turnsPerExecution: the run is started by run-api and begun again with it.
      await s.stack.service('worker').stop();
      const run = await s.start(await s.applyAgent(), plan([[read], [create('carried')]]));
      const [row] = await s.query<Pick<RunInput, 'limits' | 'waits' | 'agent'>>(
        'select agent, limits, waits from steward.agent_runs where id = $1',
        [run.id],
      );
      const { workflow } = s.temporal.client;
      await workflow.getHandle(workflowIdOf(run.id)).terminate('begun again');
      const args: [RunInput] = [{ ...(row as RunInput), tenant: 'acme', run: run.id, turnsPerExecution: 1 }];
      const workflowId = workflowIdOf(run.id);
      const first = await workflow.start(RUN_WORKFLOW, { taskQueue: RUN_TASK_QUEUE, workflowId, args });
      await s.stack.restart('worker');
      await s.closed(run.id);
      return { run: run.id, execution: first.firstExecutionRunId };
    },
  },
  'spoken-to-at-the-end': {
    what: 'a message comes while the last answer is streamed: the close is put off, and the run takes another turn',
    async play(s) {
      const agent = await s.applyAgent({ script: 'slow-stream' });
      const run = await s.start(agent, `Go\nparams: ${JSON.stringify({ pieces: 20, everyMs: 100 })}`);
      await s.until(run.id, (event) => event.kind === 'turn.started');
      await s.as(DESK).runs.sendMessage({ runId: run.id, requestId: randomUUID(), text: 'One more thing.' });
      await s.closed(run.id);
      return run.id;
    },
  },
  'tool-call-limit': {
    what: 'more tool calls than the run has',
    play: (s) =>
      played(
        s,
        plan([
          [read, create('a')],
          [create('b'), create('c')],
        ]),
        { limits: { tool_calls: 3 } },
      ),
  },
  'undo-some-refused': {
    what: 'an undo of two effects, one of them refused because its record has changed since',
    async play(s) {
      const run = await played(s, plan([[create('first')], [create('changed since')]]));
      await s.query("update projects.tasks set title = 'changed' where title = 'changed since'");
      const { undo } = await s.as(OLGA).runs.undoRun({ runId: run, requestId: randomUUID() });
      return { run, workflow: undoWorkflowIdOf(undo?.id ?? '') };
    },
  },
};

async function record(s: TestStack, name: string, shape: Shape): Promise<void> {
  const file = `${name.startsWith('undo-') ? 'undo-run' : 'agent-run'}/${RELEASE}-${name}.json`;
  const path = join(FOLDER, file);
  const known = await access(path).then(
    () => true,
    () => false,
  );
  if (known) return void process.stdout.write(`${file} is recorded already\n`);
  const played = await shape.play(s);
  const {
    run,
    execution,
    workflow = workflowIdOf(run),
  }: Played = typeof played === 'string' ? { run: played } : played;
  const { run: end } = await s.as(OLGA).runs.getRun({ runId: run });
  const handle = s.temporal.client.workflow.getHandle(workflow);
  // The run row closes a moment before its workflow does.
  await handle.result().catch(() => undefined);
  const recorded = s.temporal.client.workflow.getHandle(workflow, execution);
  const json = JSON.stringify(JSON.parse(historyToJSON(await recorded.fetchHistory())));
  // Failures carry stack traces, and those the path of this clone.
  const text = `${json.replaceAll(`${REPOSITORY}/`, '')}\n`;
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
  const manifest = JSON.parse(await readFile(MANIFEST, 'utf8').catch(() => '[]')) as unknown[];
  const sha256 = createHash('sha256').update(text).digest('hex');
  manifest.push({ file, sha256, origin: `${RELEASE}: ${shape.what}` });
  await writeFile(MANIFEST, `${JSON.stringify(manifest, null, 2)}\n`);
  process.stdout.write(`${file}: ${String(end?.status)}, ${text.length} bytes\n`);
}

const wanted = process.argv.slice(2);
const unknown = wanted.find((name) => !Object.hasOwn(SHAPES, name));
if (unknown !== undefined) throw new Error(`There is no case ${unknown}; there are ${Object.keys(SHAPES).join(', ')}.`);
const s = await testStack({ onProgress: (line) => process.stderr.write(`${line}\n`) });
try {
  for (const [name, shape] of Object.entries(SHAPES)) {
    if (wanted.length === 0 || wanted.includes(name)) await record(s, name, shape);
  }
} finally {
  await s.stop();
}
