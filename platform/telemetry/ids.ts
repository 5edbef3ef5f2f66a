import { AsyncLocalStorage } from 'node:async_hooks';
import { LruCache } from '#platform/identity/lru-cache.ts';
import { readTraceParent, spanIdOf, type Traced, traceIdOf, writeTraceParent } from './trace.ts';
import { tracing } from './tracing.ts';

/** What a line of the log is about. Ids only: they are written as they are. */
export interface Ids {
  tenant?: string | undefined;
  run?: string | undefined;
  turn?: number | undefined;
  /** `turn.index` */
  call?: string | undefined;
  /** 32 hex digits */
  trace?: string | undefined;
  /** The RPC being served. */
  rpc?: string | undefined;
  activity?: string | undefined;
}

/** The ids of some work, and where in its trace the calls that it makes belong. */
export interface Work extends Ids {
  span?: string | undefined;
  sampled?: boolean | undefined;
}

const current = new AsyncLocalStorage<Work>();

/** Does the work under these ids, added to those it is done under already. */
export function withIds<T>(ids: Work, work: () => T): T {
  return current.run({ ...current.getStore(), ...ids }, work);
}

/** As `withIds`, under these very ids: what is learned on the way is noted in them. */
export function underIds<T>(ids: Work, work: () => T): T {
  return current.run(ids, work);
}

/** Adds what was learned on the way to the ids of the work under way; does nothing outside of any. */
export function noteIds(ids: Work): void {
  const known = current.getStore();
  if (known !== undefined) Object.assign(known, ids);
}

/** What is known of the traces of runs worked on here: not every activity reads the run's row. */
const traces = new LruCache<string, Pick<Work, 'trace' | 'sampled'>>(2_000);

/** Notes whose trace a run belongs to, as its row has it. Served calls go by what their caller says instead. */
export function noteTrace(run: string, traceParent: string | null): void {
  const work = current.getStore();
  if (work === undefined || work.rpc !== undefined) return;
  let known = traces.get(run);
  if (known === undefined) {
    const parent = readTraceParent(traceParent);
    const sampled = tracing()?.samples(parent?.trace ?? traceIdOf(run), parent) ?? false;
    known = parent === undefined ? { sampled } : { trace: parent.trace, sampled };
    traces.set(run, known);
  }
  Object.assign(work, known);
}

/** What has been noted of a run's trace in this process. */
export function knownTrace(run: string): Pick<Work, 'trace' | 'sampled'> {
  return traces.get(run) ?? NONE;
}

/** The ids of the work under way, for a line of the log. */
export function currentIds(): Readonly<Ids> {
  return idsOf(current.getStore() ?? NONE);
}

/** The ids of some work, for a line of the log. */
export function idsOf({ span: _, sampled: __, ...ids }: Readonly<Work>): Readonly<Ids> {
  return ids;
}

/** The `traceparent` of calls made by the work under way; undefined where it is about no run and in no trace. */
export function currentTraceParent(): string | undefined {
  const { run, turn, call, trace, span, sampled = false } = current.getStore() ?? NONE;
  if (span !== undefined && trace !== undefined) return writeTraceParent({ trace, span, sampled });
  if (run === undefined) return undefined;
  const what: Traced = call !== undefined ? `call/${call}` : turn !== undefined ? `turn/${turn}` : 'run';
  return writeTraceParent({ trace: trace ?? traceIdOf(run), span: spanIdOf(run, what), sampled });
}

const NONE: Readonly<Work> = Object.freeze({});
