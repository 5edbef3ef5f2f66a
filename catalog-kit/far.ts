import { setTimeout as delay } from 'node:timers/promises';
import { isStewardError, StewardError } from '#domain/errors.ts';
import { type Attempt, claimOf, consumeGrants, fromKnown, outcomeUnknown } from './attempt.ts';
import type { Catalog } from './catalog.ts';
import { assertWanted, inTransaction, type KitTransaction, ownBounds } from './database.ts';
import { type Answer, receiptAnswer } from './outcome.ts';
import type { Intent, Outcome } from './receipts.ts';
import { isNotSent, isRefusal, type NotSent, notSent } from './refusal.ts';

/** An attempt of another process is taken for alive this long after it last said so. */
const LEASE_MS = 6_000;
const RENEW_MS = 2_000;
const POLL_MS = 100;
const STORE_MS = 5_000;
const STORE_TRIES = 3;

/** What a far effect does: in the transaction that stores the intent, and after it. */
export interface FarWork<Prepared> {
  /** `first`: no attempt before this one can have reached the far side. */
  prepare(trx: KitTransaction, first: boolean): Promise<Prepared>;
  act(prepared: Prepared): Promise<Outcome>;
}

type Begun<Prepared> =
  | { readonly kind: 'answer'; readonly answer: Answer }
  | { readonly kind: 'wait' }
  /** `first`: no attempt before this one can have reached the far side. */
  | { readonly kind: 'ours'; readonly first: boolean; readonly prepared: Prepared };

/**
 * An effect outside of the database: the intent is committed first, then the far side acts, then the receipt is stored.
 * Where it is not known whether the far side has acted, the answer is OUTCOME_UNKNOWN and the intent stands: with a key
 * the same call may be sent again, without one it never is.
 */
export async function intentFirst<Prepared>(
  catalog: Catalog,
  attempt: Attempt,
  work: FarWork<Prepared>,
): Promise<Answer> {
  // Known as running before anyone can see the intent.
  catalog.running.add(attempt.owner);
  try {
    for (;;) {
      const begun = await begin(catalog, attempt, work);
      if (begun.kind === 'answer') return begun.answer;
      if (begun.kind === 'ours') return await act(catalog, attempt, work, begun);
      await pause(attempt);
    }
  } finally {
    catalog.running.delete(attempt.owner);
  }
}

async function begin<P>(catalog: Catalog, attempt: Attempt, work: FarWork<P>): Promise<Begun<P>> {
  const { call, bounds } = attempt;
  const { key } = call.record;
  const claim = claimOf(attempt, LEASE_MS);
  return await inTransaction(catalog.db, call.grant.tenant, bounds, 'write', async (trx) => {
    const known = await catalog.receipts.claim(trx, claim);
    if (known === null) {
      await consumeGrants(catalog, attempt, trx);
      return { kind: 'ours', first: true, prepared: await work.prepare(trx, true) };
    }
    const found = await fromKnown(catalog, attempt, trx, known);
    if ('answer' in found) return { kind: 'answer', answer: found.answer };
    if (!(await isOrphaned(catalog, trx, found.intent))) return { kind: 'wait' };
    if (found.intent.effect !== 'keyed') throw outcomeUnknown(key);
    if (!(await catalog.receipts.takeOver(trx, claim, found.intent))) return { kind: 'wait' };
    try {
      return { kind: 'ours', first: false, prepared: await work.prepare(trx, false) };
    } catch (error) {
      // A no now says nothing about what an earlier attempt did.
      throw isRefusal(error) ? outcomeUnknown(key, error) : error;
    }
  });
}

/** Whether an attempt is at an intent right now. Of its own attempts a process knows; of others' by their lease. */
function isRunning(catalog: Catalog, intent: Intent): boolean {
  const own = intent.owner.startsWith(`${catalog.processId}/`);
  return own ? catalog.running.has(intent.owner) : intent.leased;
}

/**
 * Whether nobody is at an intent any more. Looks twice: an attempt may have settled it and ended after it was read, and
 * what is read after its end is what it left.
 */
export async function isOrphaned(catalog: Catalog, trx: KitTransaction, intent: Intent): Promise<boolean> {
  if (isRunning(catalog, intent)) return false;
  const again = await catalog.receipts.find(trx, intent.key);
  return again?.state === 'intent' && again.owner === intent.owner;
}

async function pause(attempt: Attempt): Promise<void> {
  const { bounds, call } = attempt;
  assertWanted(bounds);
  if (Date.now() + 2 * POLL_MS >= bounds.deadline.getTime()) {
    throw new StewardError('UNAVAILABLE', `${call.record.key} is being carried out by another attempt. Try again.`);
  }
  await delay(POLL_MS, undefined, { signal: bounds.signal }).catch(() => assertWanted(bounds));
}

async function act<P>(
  catalog: Catalog,
  attempt: Attempt,
  work: FarWork<P>,
  begun: { readonly first: boolean; readonly prepared: P },
): Promise<Answer> {
  const { call } = attempt;
  const { key, kind } = call.record;
  let outcome: Outcome;
  const lease = keepLease(catalog, attempt);
  try {
    assertSendingWanted(attempt);
    outcome = await work.act(begun.prepared);
    await catalog.hooks.afterEffect?.({ tool: call.tool.name, key, kind });
  } catch (error) {
    await lease.end();
    throw await giveUp(catalog, attempt, error, begun.first);
  }
  await lease.end();
  const answer = await store(catalog, attempt, outcome);
  await catalog.hooks.afterCommit?.({ tool: call.tool.name, key, kind });
  return answer;
}

/** Says every 2 s that the attempt is alive. Best effort: a lease that runs out makes others look, and no more. */
function keepLease(catalog: Catalog, attempt: Attempt): { end(): Promise<void> } {
  const { call, owner } = attempt;
  const own = { key: call.record.key, owner, leaseMs: LEASE_MS };
  let renewing: Promise<unknown> = Promise.resolve();
  const renew = (): void => {
    renewing = inTransaction(catalog.db, call.grant.tenant, ownBounds(RENEW_MS), 'write', (trx) =>
      catalog.receipts.renew(trx, own),
    ).catch(() => undefined);
  };
  const timer = setInterval(renew, RENEW_MS);
  return {
    async end() {
      clearInterval(timer);
      await renewing;
    },
  };
}

/** The last look before the far side is spoken to: nothing was sent yet. */
function assertSendingWanted(attempt: Attempt): void {
  try {
    assertWanted(attempt.bounds);
  } catch (error) {
    throw notSent('The call was no longer wanted before anything was sent.', error);
  }
}

/** Releases the intent where nothing was sent, else leaves it in doubt. Returns what the caller is told. */
async function giveUp(catalog: Catalog, attempt: Attempt, error: unknown, first: boolean): Promise<unknown> {
  const { key } = attempt.call.record;
  const own = { key, owner: attempt.owner };
  const sure = isRefusal(error) ? notSent(error) : isNotSent(error) ? error : undefined;
  try {
    return await inTransaction(catalog.db, attempt.call.grant.tenant, ownBounds(STORE_MS), 'write', async (trx) => {
      // An earlier attempt may have reached the far side, whatever is sure about this one.
      if (sure !== undefined && first && (await catalog.receipts.release(trx, own))) return toldOf(sure);
      await catalog.receipts.abandon(trx, own);
      return outcomeUnknown(key, error);
    });
  } catch (lost) {
    return outcomeUnknown(key, lost);
  }
}

function toldOf(sure: NotSent): unknown {
  if (sure.refusal !== null) return sure.refusal;
  if (isStewardError(sure.cause)) return sure.cause;
  return new StewardError('UNAVAILABLE', `Nothing was done: ${sure.message}`, { cause: sure.cause });
}

/** Stores the receipt of what has happened, wanted or not. */
async function store(catalog: Catalog, attempt: Attempt, outcome: Outcome): Promise<Answer> {
  const { call, owner } = attempt;
  const { key } = call.record;
  let lost: unknown;
  for (let tries = 0; tries < STORE_TRIES; tries += 1) {
    try {
      return await inTransaction(catalog.db, call.grant.tenant, ownBounds(STORE_MS), 'write', async (trx) => {
        if (await catalog.receipts.complete(trx, { key, owner }, outcome)) {
          return receiptAnswer({ key, digest: call.digest, ...outcome }, false);
        }
        // Another attempt took over, or this one's commit was stored although its answer was lost.
        const known = await catalog.receipts.find(trx, key);
        if (known?.state === 'done') return receiptAnswer(known, true);
        throw outcomeUnknown(key);
      });
    } catch (error) {
      lost = error;
      if (!isStewardError(error) || error.code !== 'UNAVAILABLE') break;
      await delay(POLL_MS * 2 ** tries);
    }
  }
  throw outcomeUnknown(key, lost);
}
