import type { MessageInitShape } from '@bufbuild/protobuf';
import { StewardError } from '#domain/errors.ts';
import { parseCallId } from '#domain/ids.ts';
import type { ResolveRequest, ResolveResponseSchema } from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { Catalog } from '../catalog.ts';
import { inTransaction } from '../database.ts';
import { isRunning } from '../far.ts';
import { toReceipt } from '../outcome.ts';
import type { Known } from '../receipts.ts';

type Response = MessageInitShape<typeof ResolveResponseSchema>;

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
  const { receipts } = catalog;
  const known = await inTransaction(catalog.db, grant.tenant, ctx, lookOnly ? 'read' : 'write', (trx) =>
    lookOnly ? receipts.find(trx, key) : receipts.bury(trx, key, digest),
  );
  if (known !== null && known.digest !== digest) {
    throw new StewardError('KEY_REUSED', `The key ${key} was used with another action record.`);
  }
  if (known !== null) return stateOf(catalog, known);
  return { state: lookOnly ? { case: 'nothing', value: { key } } : { case: 'tombstone', value: { key } } };
}

/** A run may settle its own keys and nobody else's. */
function assertKeyOfRun(key: string, run: string): void {
  const own = key.startsWith(`${run}/`) ? key.slice(run.length + 1).replace(/\/undo$/, '') : '';
  if (parseCallId(own) !== null) return;
  throw new StewardError('GRANT_MISMATCH', 'The key is no key of the run the grant is for.', {
    details: { field: 'key' },
  });
}

function stateOf(catalog: Catalog, known: Known): Response {
  const { key } = known;
  switch (known.state) {
    case 'done':
      return { state: { case: 'receipt', value: toReceipt(known, true) } };
    case 'tombstone':
      return { state: { case: 'tombstone', value: { key } } };
    case 'intent': {
      const running = isRunning(catalog, known);
      return { state: { case: 'inDoubt', value: { key, running, repeatable: known.effect === 'keyed' } } };
    }
  }
}
