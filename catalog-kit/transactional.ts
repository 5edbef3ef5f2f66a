import { StewardError } from '#domain/errors.ts';
import { type Attempt, claimOf, consumeGrants, fromKnown, outcomeUnknown } from './attempt.ts';
import type { Catalog } from './catalog.ts';
import { inTransaction, type KitTransaction } from './database.ts';
import { type Answer, assertSendable, receiptAnswer } from './outcome.ts';
import type { Outcome } from './receipts.ts';

/**
 * An effect and its receipt in one transaction: the key is claimed first, so a rival with the same key waits here and
 * then finds the receipt, and a tombstone that is being written is either found or kept from being written.
 */
export async function inOneTransaction(
  catalog: Catalog,
  attempt: Attempt,
  perform: (trx: KitTransaction) => Promise<Outcome>,
): Promise<Answer> {
  const { call, bounds } = attempt;
  const { key, kind } = call.record;
  let fresh = false;
  const answer = await inTransaction(catalog.db, call.grant.tenant, bounds, 'write', async (trx) => {
    const claim = claimOf(attempt, 0);
    const known = await catalog.receipts.claim(trx, claim);
    if (known !== null) {
      const found = await fromKnown(catalog, attempt, trx, known);
      // A tool that once had a far effect and now has none: only Resolve and people can tell.
      if ('intent' in found) throw outcomeUnknown(key);
      return found.answer;
    }
    fresh = true;
    await consumeGrants(catalog, attempt, trx);
    const outcome = await perform(trx);
    const made = receiptAnswer({ key, digest: call.digest, ...outcome }, false);
    assertSendable(made);
    if (!(await catalog.receipts.complete(trx, claim, outcome))) {
      throw new StewardError('INTERNAL', `The receipt of ${key} could not be stored, so its effect was rolled back.`);
    }
    return made;
  });
  if (fresh) await catalog.hooks.afterCommit?.({ tool: call.tool.name, key, kind });
  return answer;
}
