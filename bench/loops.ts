import { randomUUID } from 'node:crypto';
import { BARE_SCHEMA, INSERT_STEP } from './bare/activities.ts';
import { BARE_LOOP, BARE_TASK_QUEUE, FLOOR_LOOP, type LoopInput } from './bare/loops.ts';
import { type CpuTimes, cpuPerTurn, cpuTimes } from './cpu.ts';
import { type HistorySize, historyOf } from './history.ts';
import type { Stand } from './stand.ts';
import { taskOf } from './turns.ts';
import { untilClosed } from './waiting.ts';

/** A loop that Steward is compared with, as it was measured. */
export interface MeasuredLoop {
  readonly msPerTurn: number;
  readonly turns: number;
  /** CPU of every process, by turn. */
  readonly cpu: CpuTimes;
  readonly history: HistorySize;
}

const START_MS = 30_000;
const TURN_MS = 3_000;
const CALL_MS = 10_000;
const COMMIT_TURNS = 200;

/** Plays one loop to its end; returns its workflow id. The model of a bare one takes `modelMs`. */
export async function playLoop(stand: Stand, loop: 'bare' | 'floor', turns: number, modelMs = 0): Promise<string> {
  const run = randomUUID();
  const workflowId = `bench/${loop}/${run}`;
  const input: LoopInput = { run, turns };
  if (loop === 'bare') {
    const text = `script: bench-turns\n${taskOf(stand, turns, modelMs)}`;
    await stand.database.query(INSERT_STEP, [run, 0, JSON.stringify([{ type: 'text', text }])]);
  }
  await stand.temporal.within(new Date(Date.now() + CALL_MS), () =>
    stand.temporal.client.workflow.start(loop === 'bare' ? BARE_LOOP : FLOOR_LOOP, {
      workflowId,
      taskQueue: BARE_TASK_QUEUE,
      args: [input],
    }),
  );
  await untilClosed(stand.temporal, workflowId, START_MS + turns * TURN_MS, stand.signal);
  if (loop === 'bare') await assertEffects(stand, run, turns);
  return workflowId;
}

/** A model call and an effect a turn with rows in Postgres, or two activities that do nothing at all. */
export async function measureLoop(
  stand: Stand,
  loop: 'bare' | 'floor',
  turns: number,
  modelMs = 0,
): Promise<MeasuredLoop> {
  const before = cpuTimes();
  const workflowId = await playLoop(stand, loop, turns, modelMs);
  const cpu = cpuPerTurn(before, cpuTimes(), turns);
  const history = await historyOf(stand.temporal, workflowId);
  return { msPerTurn: history.ms / turns, turns, cpu, history };
}

async function assertEffects(stand: Stand, run: string, turns: number): Promise<void> {
  const text = `select count(*)::int as n from ${BARE_SCHEMA}.effects where run = $1`;
  const { rows } = await stand.database.query<{ n: number }>(text, [run]);
  if (rows[0]?.n !== turns) throw new Error(`The bare loop made ${rows[0]?.n} effects of ${turns}.`);
}

/** Two commits a turn, each of one row and waited for until it is on the disk: no loop with state can do with less. */
export async function measureCommits(stand: Stand): Promise<number> {
  const client = await stand.database.connect();
  try {
    await client.query('set synchronous_commit = on');
    const insert = `insert into ${BARE_SCHEMA}.steps (run, number, content) values ($1, $2, $3)`;
    const run = randomUUID();
    const content = JSON.stringify({ text: 'x'.repeat(200) });
    const began = performance.now();
    for (let number = 1; number <= 2 * COMMIT_TURNS; number += 1) {
      stand.signal.throwIfAborted();
      await client.query(insert, [run, number, content]);
    }
    return (performance.now() - began) / COMMIT_TURNS;
  } finally {
    client.release();
  }
}
