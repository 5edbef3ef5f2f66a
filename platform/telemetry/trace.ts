import { createHash } from 'node:crypto';

/**
 * Ids of traces and spans. Those of a run are made from its id, so that whoever tells of the same thing, in whichever
 * process and however often, tells of the same span.
 */

/** The trace of a run, where its caller brought none: 32 hex digits. */
export function traceIdOf(run: string): string {
  return digest(`trace/${run}`, 32);
}

/** What of a run has a span. */
export type Traced = 'run' | `turn/${number}` | `model/${string}` | `call/${string}` | `approval/${string}`;

/** The span of one thing in a run: 16 hex digits. */
export function spanIdOf(run: string, what: Traced): string {
  return digest(`span/${run}/${what}`, 16);
}

function digest(of: string, digits: number): string {
  return createHash('sha256').update(`steward/${of}`).digest('hex').slice(0, digits);
}

/** A place in somebody's trace, as W3C Trace Context has it. */
export interface TraceParent {
  readonly trace: string;
  readonly span: string;
  readonly sampled: boolean;
}

const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;

/** Reads a `traceparent` header; undefined where there is none or it is none. */
export function readTraceParent(header: string | null | undefined): TraceParent | undefined {
  const [, version, trace, span, flags, rest] = TRACEPARENT.exec(header ?? '') ?? [];
  if (trace === undefined || span === undefined || flags === undefined) return undefined;
  if (version === 'ff' || (version === '00' && rest !== undefined)) return undefined;
  if (/^0+$/.test(trace) || /^0+$/.test(span)) return undefined;
  return { trace, span, sampled: (Number.parseInt(flags, 16) & 1) === 1 };
}

/** Writes a `traceparent` header. */
export function writeTraceParent({ trace, span, sampled }: TraceParent): string {
  return `00-${trace}-${span}-${sampled ? '01' : '00'}`;
}
