import { createHash } from 'node:crypto';

/** The trace of a run, where its caller brought none: 32 hex digits, the same wherever they are worked out. */
export function traceIdOf(run: string): string {
  return digest(`trace/${run}`, 32);
}

function digest(of: string, digits: number): string {
  return createHash('sha256').update(`steward/${of}`).digest('hex').slice(0, digits);
}
