/** Names that everything else hangs on. Pure; never random. */

/** The Temporal workflow id of a run. */
export function workflowIdOf(run: string): string {
  return `run/${run}`;
}

/** The run a workflow id stands for, or null where it is no run's. */
export function runOfWorkflowId(workflowId: string): string | null {
  return workflowId.startsWith('run/') ? workflowId.slice(4) : null;
}

/** Steward's own id of the nth call (from 0) of a turn (from 1). */
export function callIdOf(turn: number, index: number): string {
  return `${turn}.${index}`;
}

/** Turn and index of a call id; null where the text is none. */
export function parseCallId(callId: string): { readonly turn: number; readonly index: number } | null {
  const match = /^([1-9]\d{0,5})\.(\d{1,3})$/.exec(callId);
  return match ? { turn: Number(match[1]), index: Number(match[2]) } : null;
}

/** The idempotency key of a recorded call: never a hash of arguments, never random. */
export function keyOf(run: string, callId: string): string {
  return `${run}/${callId}`;
}

/** The idempotency key of the undo of a recorded call. */
export function undoKeyOf(run: string, callId: string): string {
  return `${run}/${callId}/undo`;
}

/** Ledger account of one run. */
export function runAccount(run: string): string {
  return `run/${run}`;
}

/** Ledger account of a tenant's calendar month (UTC). `at` in milliseconds since 1970. */
export function tenantMonthAccount(at: number): string {
  return `tenant-month/${new Date(at).toISOString().slice(0, 7)}`;
}

/** Ledger account of a user's calendar month (UTC). */
export function userMonthAccount(at: number, user: string): string {
  return `user-month/${new Date(at).toISOString().slice(0, 7)}/${user}`;
}

/** The month, `yyyy-mm`, of an account that has one; null for a run's. */
export function monthOfAccount(account: string): string | null {
  return /^(?:tenant|user)-month\/(\d{4}-\d\d)/.exec(account)?.[1] ?? null;
}

/** Parts of the product's account: a run has its own by its id, so that runs do not wait for one row. */
export const PRODUCT_PARTS = 8;

/** The part of the product's account that a run is reserved on. */
export function productPart(run: string): number {
  return hashOf(run) % PRODUCT_PARTS;
}

/** One to six minutes, by the run: when it looks for a new month's budget after that has begun, in milliseconds. */
export function afterMidnight(run: string): number {
  return 60_000 + (hashOf(run) % 300_000);
}

function hashOf(text: string): number {
  let hash = 0;
  for (let at = 0; at < text.length; at += 1) hash = (Math.imul(hash, 31) + text.charCodeAt(at)) >>> 0;
  return hash;
}

/** When the calendar month (UTC) after the one of `at` begins. Both in milliseconds since 1970. */
export function nextMonth(at: number): number {
  const day = new Date(at);
  return Date.UTC(day.getUTCFullYear(), day.getUTCMonth() + 1, 1);
}
