import type { MessageInitShape } from '@bufbuild/protobuf';
import type { ExportAuditResponseSchema } from '#gen/steward/audit/v1/audit_service_pb.ts';
import { lineOf } from '#platform/audit/export.ts';
import { readChain } from '#platform/database/audit-chain.ts';
import { audit } from '#platform/database/journal.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { RunApiDeps } from '../deps.ts';

/** Characters of one message, a little more at most. */
const PIECE = 150_000;
/** Characters of a line that go into one message: with what stands before it less than a message may have, in any script. */
const LONGEST = 150_000;

/** The sealed chain, piece by piece as the reader takes it. */
export async function* exportAudit(
  ctx: CallContext,
  deps: RunApiDeps,
): AsyncGenerator<MessageInitShape<typeof ExportAuditResponseSchema>, void, undefined> {
  const { tenant, subject } = ctx.principal;
  await withTenant(deps.db, tenant, (trx) => audit(trx, tenant, { actor: subject, action: 'audit.export' }));
  let lines: string[] = [];
  let size = 0;
  for await (const record of readChain(deps.db, tenant)) {
    ctx.signal.throwIfAborted();
    let line = lineOf(record);
    for (; line.length > LONGEST; [lines, size] = [[], 0]) {
      const cut = isHigh(line.charCodeAt(LONGEST - 1)) ? LONGEST - 1 : LONGEST;
      yield { lines: [...lines, line.slice(0, cut)], goesOn: true };
      line = line.slice(cut);
    }
    lines.push(line);
    size += line.length;
    if (size < PIECE) continue;
    yield { lines };
    [lines, size] = [[], 0];
  }
  if (lines.length > 0) yield { lines };
}

/** Whether it is the first half of a pair, which must not be parted. */
const isHigh = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdbff;
