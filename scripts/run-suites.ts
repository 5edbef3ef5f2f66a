import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { suites } from './ci-suites.ts';

/** What a figure must be: exactly this, or within these bounds (both included). */
export type Condition = number | string | boolean | null | { min?: number; max?: number };

/** What a suite must end with. Figures are named by their path in its JSON line, for example `turns.100.msPerTurn`. */
export interface Expectation {
  exitCode: number;
  figures?: Readonly<Record<string, Condition>>;
}

/** One command that `.ci/run` plays. */
export interface Suite {
  name: string;
  command: readonly [string, ...string[]];
  expect: Expectation;
  /** True where it may end with 0 and `{"skipped": "<reason>"}`, because what it plays is not there. */
  maySkip?: boolean;
  /** How long it may take; 3 minutes unless said otherwise. */
  minutes?: number;
}

/** How a suite ended. `exitCode` is null where it was stopped, by its time limit or by a signal. */
export interface Outcome {
  exitCode: number | null;
  output: string;
}

const DEFAULT_MINUTES = 3;
const GRACE_MS = 15_000;
const DRAIN_MS = 2_000;
const SHOWN_ON_FAILURE = 40;

/** What is wrong with a suite's outcome; empty where it is as expected. */
export function complaints(expectation: Expectation, outcome: Outcome): string[] {
  const found: string[] = [];
  if (outcome.exitCode === null) found.push('was stopped before its end');
  else if (outcome.exitCode !== expectation.exitCode) {
    found.push(`ended with ${outcome.exitCode}, expected ${expectation.exitCode}`);
  }
  const wanted = Object.entries(expectation.figures ?? {});
  if (wanted.length === 0) return found;
  const figures = lastObject(outcome.output);
  if (figures === undefined) return [...found, 'the last line of its output is not a JSON object'];
  for (const [path, condition] of wanted) {
    const value = valueAt(figures, path);
    if (!meets(value, condition))
      found.push(`${path} is ${JSON.stringify(value)}, expected ${JSON.stringify(condition)}`);
  }
  return found;
}

/** Why a suite was not played, or undefined where it was. */
export function skipReason(suite: Suite, outcome: Outcome): string | undefined {
  if (suite.maySkip !== true || outcome.exitCode !== 0) return undefined;
  const reason = lastObject(outcome.output)?.skipped;
  return typeof reason === 'string' ? reason : undefined;
}

/** Plays one suite, and stops it with all its processes at its time limit. */
export async function play(suite: Suite, root: string): Promise<Outcome> {
  const [command, ...args] = suite.command;
  // Its own process group, so that nothing it started outlives it.
  const child = spawn(command, args, { cwd: root, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  const chunks: Buffer[] = [];
  let errors = '';
  child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => process.stderr.write(chunk));
  const stop = (signal: NodeJS.Signals): void => {
    if (child.pid === undefined) return;
    try {
      process.kill(-child.pid, signal);
    } catch {
      // The group is gone already.
    }
  };
  const limit = setTimeout(() => stop('SIGTERM'), (suite.minutes ?? DEFAULT_MINUTES) * 60_000);
  const hardLimit = setTimeout(() => stop('SIGKILL'), (suite.minutes ?? DEFAULT_MINUTES) * 60_000 + GRACE_MS);
  const interrupted = (): void => {
    stop('SIGTERM');
    process.exitCode = 1;
  };
  process.once('SIGTERM', interrupted).once('SIGINT', interrupted);
  const closed = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const exitCode = await new Promise<number | null>((resolve) => {
    child.once('error', (error) => {
      errors = `${command} could not be started: ${error.message}`;
      resolve(null);
    });
    child.once('exit', (code) => resolve(code));
  });
  clearTimeout(limit);
  clearTimeout(hardLimit);
  process.off('SIGTERM', interrupted).off('SIGINT', interrupted);
  stop('SIGKILL');
  // The rest of its output; bounded, since a process that left the group may hold the pipe.
  await Promise.race([closed, delay(DRAIN_MS, undefined, { ref: false })]);
  return { exitCode, output: Buffer.concat(chunks).toString('utf8') + errors };
}

function lastObject(output: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(output.trimEnd().split('\n').at(-1) ?? '');
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : undefined;
  } catch {
    return undefined;
  }
}

function valueAt(figures: Record<string, unknown>, path: string): unknown {
  let value: unknown = figures;
  for (const key of path.split('.')) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<string, unknown>)[key];
  }
  return value;
}

function meets(value: unknown, condition: Condition): boolean {
  if (typeof condition !== 'object' || condition === null) return value === condition;
  if (typeof value !== 'number') return false;
  return value >= (condition.min ?? -Infinity) && value <= (condition.max ?? Infinity);
}

/** Plays the suites one after the other and prints a line for each and, last, the counts. Returns how many failed. */
export async function playAll(list: readonly Suite[], root: string): Promise<number> {
  let failed = 0;
  let skipped = 0;
  for (const suite of list) {
    const started = performance.now();
    const outcome = await play(suite, root);
    const reason = skipReason(suite, outcome);
    if (reason !== undefined) {
      skipped += 1;
      console.log(`SKIPPED  ${suite.name}: ${reason}`);
      continue;
    }
    const found = complaints(suite.expect, outcome);
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    console.log(`${found.length === 0 ? 'ok  ' : 'FAIL'}  ${suite.name} ${seconds} s`);
    if (found.length === 0) continue;
    failed += 1;
    for (const complaint of found) console.log(`        ${complaint}`);
    for (const line of outcome.output.trimEnd().split('\n').slice(-SHOWN_ON_FAILURE)) console.log(`        | ${line}`);
  }
  console.log(`${list.length - failed - skipped} passed, ${failed} failed, ${skipped} skipped`);
  return failed;
}

if (import.meta.main && (await playAll(suites, join(import.meta.dirname, '..'))) > 0) process.exitCode = 1;
