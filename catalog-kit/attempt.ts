import { randomUUID } from 'node:crypto';
import { StewardError } from '#domain/errors.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { VerifiedExecutionGrant } from '#platform/identity/grants.ts';
import type { AdmittedCall } from './admission.ts';
import type { Catalog } from './catalog.ts';
import type { Bounds, KitTransaction } from './database.ts';
import { type Answer, assertSame, receiptAnswer } from './outcome.ts';
import type { Claim, Intent, Known } from './receipts.ts';

/** One attempt at an effect: an admitted call with its leave to run. */
export interface Attempt {
  readonly call: AdmittedCall;
  readonly grants: readonly VerifiedExecutionGrant[];
  readonly bounds: Bounds;
  readonly owner: string;
}

/** A fresh attempt of this process. */
export function newAttempt(catalog: Catalog, own: Omit<Attempt, 'owner'>): Attempt {
  return { ...own, owner: `${catalog.processId}/${randomUUID()}` };
}

/** The attempt as it claims its key. */
export function claimOf(attempt: Attempt, leaseMs: number): Claim {
  const { call, owner } = attempt;
  const { tool } = call;
  const effect = tool.effect === 'none' ? 'transactional' : tool.effect;
  return {
    key: call.record.key,
    digest: call.digest,
    tool: tool.name,
    effect,
    actionRecord: call.bytes,
    owner,
    leaseMs,
  };
}

/** Uses the attempt's grants up. Throws GRANT_REPLAYED where one was used under another key or digest. */
export async function consumeGrants(catalog: Catalog, attempt: Attempt, trx: KitTransaction): Promise<void> {
  const { digest, record } = attempt.call;
  for (const { id } of attempt.grants) {
    if (await catalog.receipts.consume(trx, { id, key: record.key, digest })) continue;
    throw new StewardError('GRANT_REPLAYED', 'The execution grant was already used for another call.');
  }
}

/**
 * What is known under the attempt's key: the answer of an earlier attempt, or an intent. Throws KEY_REUSED, TOMBSTONED,
 * GRANT_REPLAYED.
 */
export async function fromKnown(
  catalog: Catalog,
  attempt: Attempt,
  trx: KitTransaction,
  known: Known,
): Promise<{ readonly answer: Answer } | { readonly intent: Intent }> {
  const same = assertSame(known, attempt.call.digest);
  await consumeGrants(catalog, attempt, trx);
  return same.state === 'done' ? { answer: receiptAnswer(same, true) } : { intent: same };
}

/** The error of an effect nobody can tell the outcome of. */
export function outcomeUnknown(key: string, cause?: unknown): StewardError {
  return new StewardError(
    'OUTCOME_UNKNOWN',
    `Whether the effect of ${key} took place is not known. Resolve the key before anything else.`,
    cause === undefined ? {} : { cause },
  );
}

/** Runs work within the call's own bounds and the tool's time limit, whichever ends first. */
export async function withinTimeout<T>(
  ctx: CallContext,
  tool: { readonly name: string; readonly timeoutMs: number },
  work: (bounds: Bounds) => Promise<T>,
): Promise<T> {
  const limit = new AbortController();
  const onTimeout = (): void =>
    limit.abort(new StewardError('DEADLINE', `${tool.name} did not finish within its ${tool.timeoutMs} ms.`));
  const timer = setTimeout(onTimeout, tool.timeoutMs);
  const deadline = new Date(Math.min(ctx.deadline.getTime(), Date.now() + tool.timeoutMs));
  try {
    return await work({ signal: AbortSignal.any([ctx.signal, limit.signal]), deadline });
  } finally {
    clearTimeout(timer);
  }
}
