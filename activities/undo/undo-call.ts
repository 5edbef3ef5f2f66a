import { type ErrorCode, isStewardError, StewardError } from '#domain/errors.ts';
import type { RunRef } from '#domain/ports/run-store.ts';
import type { OpenedUndo, UndoCatalogPort, UndoGuardPort, UndoStore } from '#domain/ports/undo.ts';
import type { UndoActivities, UndoCallInput, UndoEnd } from '#domain/undo.ts';
import { type ActivityLog, NO_PUSH, runActivity } from '../run-context.ts';

/** So often an undo is sent to its catalog before it is only asked what became of it. */
export const UNDO_ATTEMPTS = 12;
/** What a catalog may take beyond the tool's own time, until an undo that nobody waits for any more has surely ended. */
const QUIET_MS = 5_000;

export interface UndoCallDeps {
  readonly store: UndoStore;
  readonly guard: UndoGuardPort;
  readonly catalogs: UndoCatalogPort;
  readonly log: ActivityLog;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

/** After these the undo may or may not have taken place. */
const OPEN: ReadonlySet<ErrorCode> = new Set([
  'CATALOG_UNAVAILABLE',
  'CATALOG_BROKEN',
  'DEADLINE',
  'CANCELLED',
  'OUTCOME_UNKNOWN',
  'UNAVAILABLE',
  'INTERNAL',
]);

/**
 * The `undoCall` activity: the undo of one effect, at most once, and its outcome stored only when it is known. Its key
 * is never buried: a tombstone would take the undo away for ever, while the same call under the same key is safe.
 */
export function createUndoCall(deps: UndoCallDeps): UndoActivities['undoCall'] {
  return (input) =>
    runActivity(input, NO_PUSH, deps.log, async (signal) => {
      const ref: RunRef = { tenant: input.tenant, run: input.run };
      const step = await deps.store.openUndo(ref, input.undo, input.call);
      if (step.state !== 'pending') return { state: step.state };
      const end = await takeBack(deps, input, step, signal).catch((error: unknown) => {
        // Only this attempt is over, with its worker: the undo goes on with the next one.
        throw isStewardError(error) && error.code === 'CANCELLED' ? again('It was interrupted.', 500) : error;
      });
      return { state: await deps.store.endUndo(ref, input.undo, input.call, end) };
    });
}

async function takeBack(
  deps: UndoCallDeps,
  input: UndoCallInput,
  step: OpenedUndo,
  signal: AbortSignal,
): Promise<UndoEnd> {
  if (step.digest !== null) {
    const end = await endOfEarlier(deps, step, step.digest, input.giveUp === true, signal);
    if (end) return end;
  }
  if (input.giveUp) return refused('UNAVAILABLE', 'It could not be tried in time, and nothing was changed.');
  if (step.attempts >= UNDO_ATTEMPTS) return onceQuiet(deps, step, notCarriedOut(step));
  try {
    const { catalog, ...granted } = await deps.guard.authorizeUndo(step.runGrant, input.undo, input.call, signal);
    const request = { ...granted, runGrant: step.runGrant, timeoutMs: step.timeoutMs };
    const outcome = await deps.catalogs.undo(catalog, request, signal);
    if (outcome.kind === 'refusal') return refused(outcome.code, outcome.message);
    return { kind: 'undone', change: outcome.change, repeated: outcome.repeated };
  } catch (error) {
    // Cut off or not admitted yet: tried again under the same key, which the catalog answers with the receipt.
    if (!isStewardError(error) || OPEN.has(error.code)) throw error;
    return onceQuiet(deps, step, refused(error.code, error.message));
  }
}

/** What became of earlier attempts; null where nothing has, so that it may be sent again. */
async function endOfEarlier(
  deps: UndoCallDeps,
  step: OpenedUndo,
  digest: string,
  giveUp: boolean,
  signal: AbortSignal,
): Promise<UndoEnd | null> {
  try {
    const look = { key: step.key, digest, runGrant: step.runGrant, lookOnly: true };
    const found = await deps.catalogs.resolve(step.catalog, look, signal);
    switch (found.kind) {
      case 'receipt':
        return { kind: 'undone', change: found.change, repeated: found.repeated };
      case 'tombstone':
        return refused('TOMBSTONED', 'Its undo was given up and will never take place.');
      case 'in_doubt':
        if (found.running) throw again('The catalog is at it.', 1_000);
        if (found.repeatable && !giveUp) return null;
        return unknown(`${step.catalog} began the undo and cannot say whether it took effect.`);
      case 'nothing':
        return giveUp ? onceQuiet(deps, step, notCarriedOut(step)) : null;
    }
  } catch (error) {
    if (!giveUp || !isStewardError(error)) throw error;
    return unknown(`It may have been undone or not: ${error.message} Ask for it again later.`);
  }
}

/**
 * A definite no to this attempt is a definite no altogether once no earlier attempt can still be under way in the
 * catalog. Until then throws OUTCOME_UNKNOWN, to be tried again when that is so.
 */
function onceQuiet(deps: UndoCallDeps, step: OpenedUndo, end: UndoEnd): UndoEnd {
  const now = (deps.now ?? Date.now)();
  const quietIn = (step.authorizedAt ?? Number.NEGATIVE_INFINITY) + step.timeoutMs + QUIET_MS - now;
  if (quietIn <= 0) return end;
  throw again('An earlier attempt may still be under way.', quietIn);
}

function again(why: string, retryAfterMs: number): StewardError {
  return new StewardError('OUTCOME_UNKNOWN', `It is not known yet whether it is undone. ${why}`, {
    details: { retryAfterMs },
  });
}

function notCarriedOut({ catalog, attempts }: OpenedUndo): UndoEnd {
  return refused(
    'CATALOG_UNAVAILABLE',
    `${catalog} did not undo it in ${attempts} attempts, and nothing was changed. Ask for it again later.`,
  );
}

function refused(code: string, message: string): UndoEnd {
  return { kind: 'refused', code, message };
}

function unknown(message: string): UndoEnd {
  return { kind: 'unknown', code: 'OUTCOME_UNKNOWN', message };
}
