import { StewardError } from '#domain/errors.ts';
import type { CallEnd, CallStore, OpenedCall, RunRef } from '#domain/ports/run-store.ts';
import type { CatalogPort } from '#domain/ports/services.ts';

/** Settling goes on after a stop: it is what makes the stop honest. It ends by itself after so long. */
const SETTLE_MS = 20_000;

/**
 * Learns what became of a call whose outcome is open: the receipt, or a tombstone, after which nothing can take effect
 * under its key. Where it cannot be learned, shows the call as outcome_unknown and throws OUTCOME_UNKNOWN.
 */
export async function settleCall(
  deps: { readonly store: CallStore; readonly catalogs: CatalogPort },
  ref: RunRef,
  callId: string,
  call: OpenedCall,
  stopped: AbortSignal,
  because?: StewardError,
): Promise<CallEnd> {
  const signal = AbortSignal.timeout(SETTLE_MS);
  const { key, digest, runGrant } = call;
  let told: string;
  try {
    const found = await deps.catalogs.resolve(call.catalog, { key, digest, runGrant, lookOnly: false }, signal);
    if (found.kind === 'receipt') {
      const { resultJson, change, undoable, repeated } = found;
      return { kind: 'done', resultJson, change, undoable, repeated };
    }
    if (found.kind === 'tombstone') {
      const why = stopped.aborted ? 'the run was stopped.' : (because?.message ?? 'it was interrupted.');
      return {
        kind: 'failed',
        code: because?.code ?? 'TOMBSTONED',
        message: `The call did not take place: ${why}`,
      };
    }
    // `nothing` is no answer here: without a tombstone a late attempt could still take effect.
    told = 'The catalog began the call and cannot say whether it took effect.';
  } catch (error) {
    told = error instanceof Error ? error.message : 'The catalog cannot be asked.';
  }
  await deps.store.markUnknown(ref, callId, told);
  throw new StewardError('OUTCOME_UNKNOWN', `It is not known whether ${call.tool} took effect. ${told}`, {
    // Asked again at a person's pace, not a machine's.
    details: { retryAfterMs: 5_000 },
  });
}
