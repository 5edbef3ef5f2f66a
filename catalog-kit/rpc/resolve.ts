import type { MessageInitShape } from '@bufbuild/protobuf';
import { StewardError } from '#domain/errors.ts';
import { parseCallId } from '#domain/ids.ts';
import type { ResolveRequest, ResolveResponseSchema } from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { Catalog } from '../catalog.ts';
import { inTransaction, type KitTransaction } from '../database.ts';
import { isOrphaned } from '../far.ts';
import { toReceipt } from '../outcome.ts';
import type { Known } from '../receipts.ts';

type Response = MessageInitShape<typeof ResolveResponseSchema>;
type State = NonNullable<Response['state']>;

/** A key may be settled by others between two looks; it is settled once, or given up and claimed again. */
const LOOKS = 5;

/**
 * Settles a key. Waits for an Execute that is about to commit, and then gives its receipt; where none is, writes the
 * tombstone that keeps every later one from committing.
 */
export async function resolve(catalog: Catalog, ctx: CallContext, request: ResolveRequest): Promise<Response> {
  const { key, digest, lookOnly } = request;
  const grant = await catalog.runGrants.verify(request.runGrant);
  assertKeyOfRun(key, grant.run);
  if (!/^[0-9a-f]{64}$/.test(digest)) {
    throw new StewardError('INVALID_REQUEST', 'digest must be the lower-case hex SHA-256 of the action record.');
  }
  const state = await inTransaction(catalog.db, grant.tenant, ctx, lookOnly ? 'read' : 'write', async (trx) => {
    const { receipts } = catalog;
    for (let looks = 0; looks < LOOKS; looks += 1) {
      const known = lookOnly ? await receipts.find(trx, key) : await receipts.bury(trx, key, digest);
      if (known === null) return lookOnly ? NOTHING(key) : TOMBSTONE(key);
      const state = await stateOf(catalog, trx, known, digest);
      if (state !== null) return state;
    }
    throw new StewardError('UNAVAILABLE', `The key ${key} is being settled right now. Try again.`);
  });
  return { state };
}

const NOTHING = (key: string): State => ({ case: 'nothing', value: { key } });
const TOMBSTONE = (key: string): State => ({ case: 'tombstone', value: { key } });

/** A run may settle its own keys and nobody else's. */
function assertKeyOfRun(key: string, run: string): void {
  const own = key.startsWith(`${run}/`) ? key.slice(run.length + 1).replace(/\/undo$/, '') : '';
  if (parseCallId(own) !== null) return;
  throw new StewardError('GRANT_MISMATCH', 'The key is no key of the run the grant is for.', {
    details: { field: 'key' },
  });
}

/** What a key stands for; null where it was settled while this looked. */
async function stateOf(catalog: Catalog, trx: KitTransaction, known: Known, digest: string): Promise<State | null> {
  const { key } = known;
  if (known.digest !== digest) {
    throw new StewardError('KEY_REUSED', `The key ${key} was used with another action record.`);
  }
  switch (known.state) {
    case 'done':
      return { case: 'receipt', value: toReceipt(known, true) };
    case 'tombstone':
      return TOMBSTONE(key);
    case 'intent': {
      const running = !(await isOrphaned(catalog, trx, known));
      const again = running ? await catalog.receipts.find(trx, key) : known;
      if (again?.state !== 'intent') return null;
      return { case: 'inDoubt', value: { key, running, repeatable: known.effect === 'keyed' } };
    }
  }
}
