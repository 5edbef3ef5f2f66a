import type { MessageInitShape } from '@bufbuild/protobuf';
import type { EraseAuditRequest, EraseAuditResponseSchema } from '#gen/steward/audit/v1/audit_service_pb.ts';
import { eraseSubject, isSubject } from '#platform/database/audit-retention.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';

/** Batches of one call at most: two million entries. */
const MOST_BATCHES = 1_000;

/** Erases a person from the tenant's audit log. Each batch is an entry of its own, which does not name them. */
export async function eraseAudit(
  ctx: CallContext,
  deps: RunApiDeps,
  request: EraseAuditRequest,
): Promise<MessageInitShape<typeof EraseAuditResponseSchema>> {
  const { tenant, subject: actor } = ctx.principal;
  const { subject, reason } = request;
  const checks = new Checks();
  checks.line('subject', subject, { min: 3, max: 200 });
  checks.text('reason', reason, { min: 1, max: 500 });
  checks.that(subject !== actor, 'subject', 'must be somebody else: nobody erases what they did themselves');
  checks.that(!reason.includes(subject), 'reason', 'must not name the person: it is kept');
  checks.done();
  if (!(await withTenant(deps.db, tenant, (trx) => isSubject(trx, subject)))) {
    checks.that(
      false,
      'subject',
      'must be a person as their token names them; nobody of this name has a run or decided',
    );
    checks.done();
  }
  let [entries, more] = [0, true];
  for (let batch = 0; more && batch < MOST_BATCHES; batch += 1) {
    ctx.signal.throwIfAborted();
    const erased = await eraseSubject(deps.db, tenant, { subject, by: actor, reason });
    entries += erased;
    more = erased > 0;
  }
  return { entries: BigInt(entries), more };
}
