import { randomUUID } from 'node:crypto';
import { writeSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { setTimeout as delay } from 'node:timers/promises';
import type { JSONWebKeySet } from 'jose';
import { isStewardError } from '#domain/errors.ts';
import type { AttemptEnd, RunRef, TurnStore } from '#domain/ports/run-store.ts';
import { priceOf } from '#domain/pricing.ts';
import { connect } from '#platform/database/connect.ts';
import type { Database } from '#platform/database/tables.ts';
import { createTurnStore } from '#platform/database/turns.ts';
import { runGrantVerifier } from '#platform/identity/grants.ts';
import { answer } from '#test/support/worker-bench.ts';
import { NO_RESERVATION } from './no-reservation.ts';
import { randomOf } from './random.ts';

/** What a child is told, as one JSON document on its standard input. */
export interface ChildTask {
  readonly url: string;
  readonly jwks: JSONWebKeySet;
  readonly runs: readonly RunRef[];
  readonly turns: number;
  readonly seed: number;
  /** From its beginning, in milliseconds; after that an attempt is dead. */
  readonly deadAfterMs: number;
  /** After so many reservations the next one is never answered for: the child waits to be killed. Null: never. */
  readonly hangAfter: number | null;
  readonly sabotage: boolean;
}

/** What it says, a line of JSON each, before the thing itself is done. */
export type Said =
  | {
      readonly what: 'ends';
      readonly attempt: string;
      readonly kind: 'usage' | 'nothing' | 'reservation';
      readonly cost: number;
    }
  | { readonly what: 'hangs'; readonly attempt: string }
  | { readonly what: 'refused' }
  | { readonly what: 'error'; readonly code: string; readonly message: string };

const MOST_TRIES = 4;
const task = JSON.parse(await text(process.stdin)) as ChildTask;
const random = randomOf(task.seed);
const pool = connect<Database>(task.url, { max: 16, connectMs: 30_000, statementMs: 60_000 });
const turns: TurnStore = createTurnStore({
  db: pool.db,
  grants: runGrantVerifier(task.jwks),
  notifier: { wake: () => undefined },
  ...(task.sabotage ? { ledger: NO_RESERVATION } : {}),
});
let reserved = 0;

/** At once on the pipe: what was said before a kill is not lost. */
function say(said: Said): void {
  writeSync(1, `${JSON.stringify(said)}\n`);
}

await Promise.all(task.runs.map(play));
await pool.close();

async function play(ref: RunRef): Promise<void> {
  for (let turn = 1; turn <= task.turns; turn += 1) {
    let stored = false;
    for (let tries = 0; tries < MOST_TRIES && !stored; tries += 1) {
      const racing = 1 + Math.floor(random() * 3);
      const ends = await Promise.all(Array.from({ length: racing }, (_, number) => attempt(ref, turn, number + 1)));
      stored = ends.includes('stored');
      // What others hold may be given back before long.
      if (ends.includes('refused')) await delay(random() * 30);
    }
    if (!stored) return;
  }
}

async function attempt(ref: RunRef, turn: number, number: number): Promise<'stored' | 'failed' | 'refused'> {
  const id = randomUUID();
  try {
    const input = 200 + Math.floor(random() * 1_800);
    const deadlineAt = new Date(Date.now() + task.deadAfterMs);
    const opened = await turns.openTurn(ref, turn, { id, number, deadlineAt }, () => input);
    if (opened.kind === 'stored') return 'stored';
    if (opened.kind !== 'reserved') {
      say({ what: 'refused' });
      return 'refused';
    }
    reserved += 1;
    if (task.hangAfter !== null && reserved === task.hangAfter) {
      say({ what: 'hangs', attempt: id });
      await new Promise(() => setInterval(() => undefined, 60_000));
    }
    return await end(ref, turn, id, input, opened.request.maxOutputTokens, opened.reservedMicroUsd);
  } catch (error) {
    const code = isStewardError(error) ? error.code : 'UNKNOWN';
    say({ what: 'error', code, message: error instanceof Error ? error.message : String(error) });
    return 'failed';
  }
}

async function end(
  ref: RunRef,
  turn: number,
  id: string,
  input: number,
  output: number,
  held: number,
): Promise<'stored' | 'failed'> {
  const luck = random();
  // One in ten is billed above what its reservation could be.
  const written = luck < 0.1 ? Math.ceil(output * 1.4) + 50 : Math.floor(output * random());
  const usage = { input, output: written, cacheRead: 0, cacheWrite: 0, reasoning: 0 };
  const cost = priceOf('offline-1', usage, new Date());
  if (luck < 0.7) {
    say({ what: 'ends', attempt: id, kind: 'usage', cost });
    await turns.storeAnswer(ref, turn, id, answer(undefined, { usage }), 10);
    return 'stored';
  }
  const ends: readonly [AttemptEnd, number][] = [
    [{ kind: 'usage', usage }, cost],
    [{ kind: 'reservation' }, held],
    [{ kind: 'nothing' }, 0],
  ];
  const [how, costs] = ends[Math.floor(random() * ends.length)] as [AttemptEnd, number];
  say({ what: 'ends', attempt: id, kind: how.kind, cost: costs });
  await turns.endAttempt(ref, turn, id, how, { code: 'MODEL_UNAVAILABLE', message: 'attacked', retrying: true });
  return 'failed';
}
