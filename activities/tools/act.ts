import { type ErrorCode, isStewardError, StewardError } from '#domain/errors.ts';
import type { ActResult, RunActivities } from '#domain/ports/run-activities.ts';
import type { CallEnd, CallStore, OpenedCall, RunRef } from '#domain/ports/run-store.ts';
import type { CatalogPort, GuardPort, Receipt } from '#domain/ports/services.ts';
import { type ActivityLog, runActivity, type StopPush } from '../run-context.ts';
import { settleCall } from './settle-call.ts';

/** Attempts of a call whose catalog cannot be reached, before the call is settled as not done. */
export const CATALOG_ATTEMPTS = 12;

/** A catalog that cannot be asked for so many attempts: the call is shown as outcome_unknown while it is asked again. */
const SHOWN_AFTER = 4;

export interface ActDeps {
  readonly store: CallStore;
  readonly guard: GuardPort;
  readonly catalogs: CatalogPort;
  readonly push: StopPush;
  readonly log: ActivityLog;
}

/** After these the call may or may not have taken place. */
const OPEN: ReadonlySet<ErrorCode> = new Set([
  'CATALOG_UNAVAILABLE',
  'CATALOG_BROKEN',
  'DEADLINE',
  'CANCELLED',
  'OUTCOME_UNKNOWN',
  'UNAVAILABLE',
  'INTERNAL',
]);

/** The `act` activity: one tool call, at most once, and its outcome told only when it is known. */
export function createAct(deps: ActDeps): RunActivities['act'] {
  return (input) =>
    runActivity(input.run, deps.push, deps.log, async (signal, attempt): Promise<ActResult> => {
      const ref: RunRef = { tenant: input.tenant, run: input.run };
      const call = await deps.store.openCall(ref, input.call);
      const ended = endedAs(call.state);
      if (ended) return { outcome: ended };
      if (call.digest !== input.digest) {
        throw new StewardError('DIGEST_MISMATCH', 'The stored call is not the one that was judged.');
      }
      const end = await carryOut(deps, ref, input.call, call, attempt, signal);
      if (signal.aborted && end.kind === 'failed') {
        await deps.store.endCall(ref, input.call, { ...end, kind: 'cancelled' });
        throw new StewardError('CANCELLED', 'The call was stopped.');
      }
      await deps.store.endCall(ref, input.call, end);
      return { outcome: end.kind === 'cancelled' ? 'failed' : end.kind };
    });
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

async function carryOut(
  deps: ActDeps,
  ref: RunRef,
  callId: string,
  call: OpenedCall,
  attempt: number,
  signal: AbortSignal,
): Promise<CallEnd> {
  const startedBefore = call.attempts > 0;
  if (startedBefore) {
    // An effect that took place is told, whatever the guard would say by now.
    const found = await deps.catalogs.resolve(call.catalog, { ...call, lookOnly: true }, signal).catch(async (error) => {
      if (attempt >= SHOWN_AFTER && !signal.aborted) await deps.store.markUnknown(ref, callId, messageOf(error));
      throw error;
    });
    if (found.kind === 'receipt') return done(found);
    if (found.kind === 'tombstone') return notDone('it was interrupted before it took effect');
    if (found.kind === 'in_doubt' && (found.running || !found.repeatable)) return settleCall(deps, ref, callId, call, signal);
  }
  if (signal.aborted) return startedBefore ? settleCall(deps, ref, callId, call, signal) : notDone('the run was stopped');

  let granted: Awaited<ReturnType<GuardPort['authorize']>>;
  try {
    granted = await deps.guard.authorize(call.runGrant, callId, call.digest, signal);
  } catch (error) {
    if (!isStewardError(error) || error.code === 'UNAVAILABLE' || error.code === 'DEADLINE' || error.code === 'INTERNAL') {
      throw error;
    }
    if (startedBefore) {
      const settled = await settleCall(deps, ref, callId, call, signal);
      if (settled.kind === 'done') return settled;
    }
    if (error.code === 'CANCELLED') return notDone('the run was stopped');
    return { kind: 'denied', code: error.code, message: error.message };
  }

  try {
    const outcome = await deps.catalogs.execute(
      granted.catalog,
      {
        actionRecord: granted.actionRecord,
        runGrant: call.runGrant,
        executionGrants: granted.executionGrants,
        timeoutMs: call.timeoutMs,
      },
      signal,
    );
    return outcome.kind === 'receipt' ? done(outcome) : { ...outcome, kind: 'refused' };
  } catch (error) {
    if (!isStewardError(error)) throw error;
    if (!OPEN.has(error.code)) {
      // A definite no to this attempt; an earlier one may still have taken effect.
      const settled = startedBefore ? await settleCall(deps, ref, callId, call, signal) : null;
      return settled?.kind === 'done' ? settled : { kind: 'failed', code: error.code, message: error.message };
    }
    // Cut off: the same call may be sent again under the same key, which the catalog answers with the receipt.
    const sendAgain = error.code === 'CATALOG_UNAVAILABLE' || error.code === 'UNAVAILABLE' || error.code === 'OUTCOME_UNKNOWN';
    if (sendAgain && !signal.aborted && attempt < CATALOG_ATTEMPTS) throw error;
    return settleCall(deps, ref, callId, call, signal, error);
  }
}

function done(receipt: Receipt): CallEnd {
  const { resultJson, change, undoable, repeated } = receipt;
  return { kind: 'done', resultJson, change, undoable, repeated };
}

function notDone(why: string): CallEnd {
  return { kind: 'failed', code: 'TOMBSTONED', message: `The call did not take place: ${why}.` };
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : 'The catalog cannot be asked.';
}
