import type { Evidence } from './evidence.ts';
import { CREATED, effectOf, intentsOf, MAILED } from './intents.ts';

/** What the evidence comes to. */
export interface Count {
  /** Runs that ended as completed, every effect of theirs reported as done. */
  readonly completed: number;
  /** Effects that completed runs were to bring about. */
  readonly effectsExpected: number;
  /** Different effects that the catalogs have. */
  readonly effectsFound: number;
  /** Times that an effect took place beyond the first. */
  readonly duplicated: number;
  /** Effects reported to the model as done that the catalogs do not have. */
  readonly lost: number;
  /** Calls of which it is still not known whether they took effect. */
  readonly unknown: number;
  /** Runs that did not close. */
  readonly stuck: number;
  /** Effects that took place under a key of which the model was told something else. */
  readonly contradicted: number;
  /** Effects that nobody asked for, and tasks whose rows and versions tell another story than their activity. */
  readonly disagreements: number;
}

/** Counts, for runs numbered from 0. */
export function count(evidence: Evidence, seed: number, runs: number): Count {
  const wanted = Array.from({ length: runs }, (_, run) => intentsOf(seed, run).map(({ effect }) => effect));
  const times = tally(evidence.effects.map(({ effect }) => effect));
  const reported = new Set(evidence.calls.filter(({ state }) => state === 'done').map(({ effect }) => effect));
  const completed = wanted.filter((effects, run) => {
    const status = evidence.runs.find(({ number }) => number === run)?.status;
    return status === 'completed' && effects.every((effect) => reported.has(effect));
  });
  const states = new Map(evidence.calls.map(({ key, state }) => [key, state]));
  const asked = new Set(wanted.flat());
  return {
    completed: completed.length,
    effectsExpected: completed.flat().length,
    effectsFound: [...asked].filter((effect) => times.has(effect)).length,
    duplicated: [...asked].reduce((sum, effect) => sum + Math.max(0, (times.get(effect) ?? 0) - 1), 0),
    lost: [...reported].filter((effect) => !times.has(effect)).length,
    unknown: evidence.calls.filter(({ state }) => state === 'outcome_unknown').length,
    stuck: runs - evidence.runs.filter(({ closed }) => closed).length,
    contradicted: evidence.effects.filter(({ key }) => states.get(key) !== 'done').length,
    disagreements: [...times.keys()].filter((effect) => !asked.has(effect)).length + unlike(evidence, times),
  };
}

/** Tasks whose rows or versions do not add up to their activity. */
function unlike(evidence: Evidence, times: ReadonlyMap<string, number>): number {
  const changes = new Map<string, number>();
  for (const [effect, number] of times) {
    const subject = effect.slice(0, effect.indexOf(': '));
    const counts = effect !== effectOf(subject, CREATED) && effect !== effectOf(subject, MAILED);
    if (counts) changes.set(subject, (changes.get(subject) ?? 0) + number);
  }
  return evidence.tasks.filter(
    (task) =>
      task.rows !== (times.get(effectOf(task.title, CREATED)) ?? 0) || task.changes !== (changes.get(task.title) ?? 0),
  ).length;
}

function tally(values: readonly string[]): ReadonlyMap<string, number> {
  const times = new Map<string, number>();
  for (const value of values) times.set(value, (times.get(value) ?? 0) + 1);
  return times;
}
