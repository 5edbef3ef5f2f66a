import type { MessageInitShape } from '@bufbuild/protobuf';
import type { VerifyAuditResponseSchema } from '#gen/steward/audit/v1/audit_service_pb.ts';
import { readAnchors } from '#platform/audit/anchors.ts';
import { CHAIN_RULES } from '#platform/audit/chain.ts';
import { verifyChain } from '#platform/audit/verify.ts';
import { erasedUnsealed, readChain } from '#platform/database/audit-chain.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { RunApiDeps } from '../deps.ts';

/** Goes over the tenant's chain as it stands. Anchors are read first: what is sealed meanwhile does not disturb. */
export async function verifyAudit(
  ctx: CallContext,
  deps: RunApiDeps,
): Promise<MessageInitShape<typeof VerifyAuditResponseSchema>> {
  const { tenant } = ctx.principal;
  const { anchors: known } = deps;
  const { anchors } = known ? readAnchors(await known.store.read(tenant), known.keys, tenant) : { anchors: [] };
  const records = async function* () {
    for await (const record of readChain(deps.db, tenant)) {
      ctx.signal.throwIfAborted();
      yield record;
    }
  };
  const unsealed = () => erasedUnsealed(deps.db, tenant);
  const found = await verifyChain(tenant, records(), anchors, CHAIN_RULES, unsealed);
  const { entries, last, anchored, pruned, erased, damage } = found;
  return {
    entries: BigInt(entries),
    last: BigInt(last),
    anchored: BigInt(anchored),
    anchorsKnown: known !== null,
    pruned: BigInt(pruned),
    erased: BigInt(erased),
    damage: damage.map((one) => ({ ...one, number: BigInt(one.number) })),
  };
}
