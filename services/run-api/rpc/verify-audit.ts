import type { MessageInitShape } from '@bufbuild/protobuf';
import { sql } from 'kysely';
import type { VerifyAuditResponseSchema } from '#gen/steward/audit/v1/audit_service_pb.ts';
import { readAnchors } from '#platform/audit/anchors.ts';
import { CHAIN_RULES } from '#platform/audit/chain.ts';
import { verifyChain } from '#platform/audit/verify.ts';
import { erasedUnsealed, readChain } from '#platform/database/audit-chain.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { RunApiDeps } from '../deps.ts';

/** Goes over the tenant's chain as it stands. Anchors are read first: what is sealed meanwhile does not disturb. */
export async function verifyAudit(
  ctx: CallContext,
  deps: RunApiDeps,
): Promise<MessageInitShape<typeof VerifyAuditResponseSchema>> {
  const { tenant } = ctx.principal;
  const { anchors: known } = deps;
  const none = { anchors: [], unknown: 0 };
  const { anchors, unknown } = known ? readAnchors(await known.store.read(tenant), known.keys, tenant) : none;
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
    anchorTrouble: known === null ? '' : await troubleOf(deps, tenant, anchored, unknown),
    damage: damage.map((one) => ({ ...one, number: BigInt(one.number) })),
  };
}

/** Heads are anchored after a minute; what has stood for so long without is told. */
const LATE_MINUTES = 10;

async function troubleOf(deps: RunApiDeps, tenant: string, anchored: number, unknown: number): Promise<string> {
  const late = await withTenant(deps.db, tenant, (trx) =>
    trx
      .selectFrom('audit_chain')
      .select('number')
      .where('tenant', '=', tenant)
      .where('number', '=', anchored + 1)
      .where('sealed_at', '<', sql<Date>`now() - ${LATE_MINUTES} * interval '1 minute'`)
      .executeTakeFirst(),
  );
  return [
    ...(late ? [`no anchor vouches for ${late.number} and what follows, for more than ${LATE_MINUTES} minutes`] : []),
    ...(unknown > 0 ? [`${unknown} anchors are signed by no key that is known, or for another tenant`] : []),
  ].join('; ');
}
