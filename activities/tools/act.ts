import {
  type ErrorCode,
  isRetryable,
  isStewardError,
  type StatusName,
  StewardError,
  statusOf,
} from '#domain/errors.ts';
import { keyOf } from '#domain/ids.ts';
import type { ActResult, RunActivities } from '#domain/ports/run-activities.ts';
import type { CallEnd, CallStore, OpenedCall, RunRef } from '#domain/ports/run-store.ts';
import type {
  BegunCall,
  CallLeave,
  CatalogPort,
  ExecuteOutcome,
  GuardPort,
  Receipt,
  Resolution,
} from '#domain/ports/services.ts';
import { type ActivityLog, runActivity, type StopPush, whatStops } from '../run-context.ts';
import type { BegunCalls } from './begun-calls.ts';
import { settleCall } from './settle-call.ts';

/** Attempts of a call whose catalog cannot be reached, before the call is settled as not done: about three minutes. */
export const CATALOG_ATTEMPTS = 40;
/** A catalog that cannot be asked for so many attempts: the call is shown as outcome_unknown while it is asked again. */
export const SHOWN_AFTER = 4;
/** One that says for so many attempts that the call is still running: longer than any tool may take. */
export const STILL_RUNNING_SHOWN_AFTER = 90;

export interface ActDeps {
  readonly store: CallStore;
  readonly guard: GuardPort;
  readonly catalogs: CatalogPort;
  readonly push: StopPush;
  readonly log: ActivityLog;
  /** What the guard has begun as it judged it. */
  readonly begun: BegunCalls;
}

/** Statuses by which a catalog says no for sure. After any other the call may or may not have taken place. */
const DEFINITE: ReadonlySet<StatusName> = new Set([
  'INVALID_ARGUMENT',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'FAILED_PRECONDITION',
]);

/** Then the same call may be sent again under the same key, which the catalog answers with the receipt if there is one. */
const SENT_AGAIN: ReadonlySet<ErrorCode> = new Set(['CATALOG_UNAVAILABLE', 'UNAVAILABLE', 'OUTCOME_UNKNOWN']);

/** The guard could not be asked, which is no answer of its. */
const NOT_ASKED: ReadonlySet<ErrorCode> = new Set(['UNAVAILABLE', 'DEADLINE', 'INTERNAL']);
/** It was, and could not ask the catalog what the tool is now. */
const NOT_DESCRIBED: ReadonlySet<ErrorCode> = new Set(['CATALOG_UNAVAILABLE', 'CATALOG_BROKEN']);

/** One attempt at one call. */
interface Attempt {
  readonly ref: RunRef;
  readonly callId: string;
  readonly call: OpenedCall;
  /** True where an earlier attempt was authorised: something may have reached the catalog. */
  readonly startedBefore: boolean;
  /** Which attempt of the call this one is, once it was let begin; 0 before. */
  readonly begun: number;
  /** Given with the verdict; undefined where the guard is still to be asked. */
  readonly leave: CallLeave | undefined;
  readonly number: number;
  readonly signal: AbortSignal;
}

type Ended = CallEnd | { readonly kind: 'paused' };

/** The `act` activity: one tool call, at most once, and its outcome told only when it is known. */
export function createAct(deps: ActDeps): RunActivities['act'] {
  return (input) =>
    runActivity(input, deps.push, deps.log, async (signal, number): Promise<ActResult> => {
      const ref: RunRef = { tenant: input.tenant, run: input.run };
      const begun = number === 1 ? deps.begun.take(input.run, input.call, input.digest, deps.push.epoch()) : undefined;
      const call = begun ? openedAs(ref, begun) : await deps.store.openCall(ref, input.call);
      const ended = endedAs(call.state);
      if (ended) return { outcome: ended };
      if (call.digest !== input.digest) {
        throw new StewardError('DIGEST_MISMATCH', 'The stored call is not the one that was judged.');
      }
      const startedBefore = begun === undefined && call.attempts > 0;
      const attempt = { ref, callId: input.call, call, startedBefore, begun: 0, leave: begun?.leave, number, signal };
      const end = await carryOut(deps, attempt);
      if (end.kind === 'paused') return { outcome: 'paused' };
      const stopped = end.kind === 'cancelled' || (whatStops(signal) === 'run' && end.kind === 'failed');
      const killed = whatStops(signal) === 'work' && end.kind === 'failed';
      const told: CallEnd = stopped ? { ...end, kind: 'cancelled' } : killed ? { ...end, code: 'KILLED' } : end;
      if (!(await deps.store.endCall(ref, input.call, told)) && told.kind !== 'done') {
        // Another attempt was let begin meanwhile, and may have an effect yet.
        const settled = await settle(deps, attempt);
        const { covers: _, ...sure } = told;
        await deps.store.endCall(ref, input.call, settled.kind === 'done' ? settled : sure);
        if (settled.kind === 'done') return { outcome: 'done' };
      }
      if (stopped) throw new StewardError('CANCELLED', 'The call was stopped.');
      return { outcome: end.kind };
    });
}

/** A call as its verdict has begun it, a moment ago and for this attempt: nothing of it is to be read. */
function openedAs(ref: RunRef, begun: BegunCall & { readonly runGrant: string }): OpenedCall {
  const { callId, tool, digest, timeoutMs, hasEffect, leave, runGrant } = begun;
  return {
    state: 'started',
    tool,
    catalog: leave.catalog,
    key: keyOf(ref.run, callId),
    digest,
    attempts: 1,
    timeoutMs,
    hasEffect,
    runGrant,
    runClosed: false,
    cancelRequested: false,
  };
}

function endedAs(state: string): ActResult['outcome'] | null {
  switch (state) {
    case 'done':
    case 'refused':
    case 'denied':
    case 'failed':
      return state;
    case 'cancelled':
      return 'failed';
    default:
      return null;
  }
}

async function carryOut(deps: ActDeps, attempt: Attempt): Promise<Ended> {
  const { callId, call, signal, startedBefore } = attempt;
  const known = startedBefore ? await look(deps, attempt) : null;
  if (known) return known;
  if (isToStop(signal)) return startedBefore ? settle(deps, attempt) : stopped(signal);
  assertGoesOn(signal);

  let granted: CallLeave;
  try {
    granted = attempt.leave ?? (await deps.guard.authorize(call.runGrant, callId, call.digest, signal));
  } catch (error) {
    return refusedByGuard(deps, attempt, error);
  }
  const mine: Attempt = { ...attempt, begun: granted.attempt, startedBefore: startedBefore || granted.attempt > 1 };
  let outcome: ExecuteOutcome;
  try {
    outcome = await deps.catalogs.execute(
      granted.catalog,
      {
        actionRecord: granted.actionRecord,
        runGrant: call.runGrant,
        executionGrants: granted.executionGrants,
        timeoutMs: call.timeoutMs,
      },
      signal,
    );
  } catch (error) {
    return failedToExecute(deps, mine, error);
  }
  if (outcome.kind === 'receipt') return done(outcome);
  return sureOfNo(deps, mine, { ...outcome, kind: 'refused' });
}

/** What an earlier attempt has left; null where the same call may be sent again. */
async function look(deps: ActDeps, attempt: Attempt): Promise<CallEnd | null> {
  const { ref, callId, call, signal, number } = attempt;
  const show = async (after: number, message: string): Promise<void> => {
    if (number >= after && !signal.aborted) await deps.store.markUnknown(ref, callId, message);
  };
  let found: Resolution;
  try {
    const asked = { key: call.key, digest: call.digest, runGrant: call.runGrant, lookOnly: true };
    found = await deps.catalogs.resolve(call.catalog, asked, signal);
  } catch (error) {
    // One that will not say, whatever for, is asked to settle, and shown as not knowing.
    const refuses = isStewardError(error) && !isRetryable(error.code) && !signal.aborted;
    if (refuses) return settle(deps, attempt);
    await show(SHOWN_AFTER, error instanceof Error ? error.message : 'The catalog cannot be asked.');
    throw error;
  }
  switch (found.kind) {
    case 'receipt':
      // An effect that took place is told, whatever the guard would say by now.
      return done(found);
    case 'tombstone':
      return notDone('it was interrupted before it took effect');
    case 'nothing':
      return null;
    case 'in_doubt':
      if (found.running && !signal.aborted) {
        await show(STILL_RUNNING_SHOWN_AFTER, 'The catalog says that the call is still running.');
        throw new StewardError('OUTCOME_UNKNOWN', `${call.tool} is still running from an earlier attempt.`, {
          details: { retryAfterMs: 1_000 },
        });
      }
      return found.repeatable && !signal.aborted ? null : settle(deps, attempt);
  }
}

async function refusedByGuard(deps: ActDeps, attempt: Attempt, error: unknown): Promise<Ended> {
  if (!isStewardError(error) || NOT_ASKED.has(error.code)) throw error;
  // Nothing was decided about the call: it waits for the resume, and so does what an earlier attempt may have begun.
  const paused = error.details.status === 'paused' && (error.code === 'WRONG_STATE' || error.code === 'KILLED');
  if (paused) return { kind: 'paused' };
  if (NOT_DESCRIBED.has(error.code)) {
    if (attempt.number < CATALOG_ATTEMPTS) throw error;
    return sureOfNo(deps, attempt, { kind: 'failed', code: error.code, message: error.message });
  }
  if (error.code === 'CANCELLED') {
    assertGoesOn(attempt.signal);
    return sureOfNo(deps, attempt, stopped(attempt.signal));
  }
  return sureOfNo(deps, attempt, { kind: 'denied', code: error.code, message: error.message });
}

async function failedToExecute(deps: ActDeps, attempt: Attempt, error: unknown): Promise<CallEnd> {
  if (!isStewardError(error)) throw error;
  if (DEFINITE.has(statusOf(error.code))) {
    return sureOfNo(deps, attempt, { kind: 'failed', code: error.code, message: error.message });
  }
  if (SENT_AGAIN.has(error.code) && !attempt.signal.aborted && attempt.number < CATALOG_ATTEMPTS) throw error;
  return settle(deps, attempt, error);
}

/**
 * This attempt certainly has no effect. An earlier one may have had, or may still arrive: that is settled first, and an
 * effect that took place is told instead.
 */
async function sureOfNo(deps: ActDeps, attempt: Attempt, end: CallEnd): Promise<CallEnd> {
  if (!attempt.startedBefore) return end.kind === 'done' ? end : { ...end, covers: attempt.begun };
  const settled = await settle(deps, attempt);
  return settled.kind === 'done' ? settled : end;
}

async function settle(deps: ActDeps, attempt: Attempt, because?: StewardError): Promise<CallEnd> {
  assertGoesOn(attempt.signal);
  return settleCall(deps, attempt.ref, attempt.callId, attempt.call, attempt.signal, because);
}

/** An attempt that is over settles nothing: a tombstone would take the call away from the attempt that follows. */
function assertGoesOn(signal: AbortSignal): void {
  if (whatStops(signal) === 'attempt') throw new StewardError('CANCELLED', 'This attempt is over; another goes on.');
}

function done(receipt: Receipt): CallEnd {
  const { resultJson, change, undoable, repeated } = receipt;
  return { kind: 'done', resultJson, change, undoable, repeated };
}

function notDone(why: string): CallEnd {
  return { kind: 'failed', code: 'TOMBSTONED', message: `The call did not take place: ${why}.` };
}

function stopped(signal: AbortSignal): CallEnd {
  return whatStops(signal) === 'work'
    ? { kind: 'failed', code: 'KILLED', message: 'The call did not take place: a kill switch stopped it.' }
    : { kind: 'cancelled', code: 'CANCELLED', message: 'The call did not take place: the run was stopped.' };
}

/** Whether a person has stopped it: the run, or what is in flight. */
function isToStop(signal: AbortSignal): boolean {
  const what = whatStops(signal);
  return what === 'run' || what === 'work';
}
