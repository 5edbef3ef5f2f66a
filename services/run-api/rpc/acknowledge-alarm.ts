import type { MessageInitShape } from '@bufbuild/protobuf';
import { sql } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import type {
  AcknowledgeAlarmRequest,
  AcknowledgeAlarmResponseSchema,
} from '#gen/steward/budget/v1/budget_service_pb.ts';
import { audit } from '#platform/database/journal.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import { type AlarmRow, toAlarm } from '../budget/alarms.ts';
import { assertPlatform } from '../budget/levels.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';

/** Notes who has seen to an alarm; the first one counts. */
export async function acknowledgeAlarm(
  ctx: CallContext,
  deps: RunApiDeps,
  request: AcknowledgeAlarmRequest,
): Promise<MessageInitShape<typeof AcknowledgeAlarmResponseSchema>> {
  const { tenant, subject } = ctx.principal;
  const { id, product } = request;
  const checks = new Checks();
  checks.that(id >= 1n && id <= BigInt(Number.MAX_SAFE_INTEGER), 'id', 'must be the id of an alarm');
  checks.done();
  return withTenant(deps.db, tenant, async (trx) => {
    if (product) await assertPlatform(trx, tenant);
    const table = product ? sql`product_alarms` : sql`budget_alarms`;
    const run = product ? sql`null::text` : sql`run_id`;
    const changed = await sql`update ${table} set acknowledged_by = ${subject}, acknowledged_at = now()
      where id = ${id} and acknowledged_at is null`.execute(trx);
    const { rows } = await sql<AlarmRow>`select id, kind, subject, step, ${run} as run_id, data, at, acknowledged_by,
      acknowledged_at from ${table} where id = ${id}`.execute(trx);
    const row = rows[0];
    if (row === undefined) throw new StewardError('NOT_FOUND', `There is no alarm ${id} that you may see.`);
    if ((changed.numAffectedRows ?? 0n) > 0n) {
      const data = { alarm: Number(id), product, kind: row.kind, about: row.subject, step: row.step };
      await audit(trx, tenant, { actor: subject, action: 'budget.acknowledge_alarm', data });
    }
    return { alarm: toAlarm(row) };
  });
}
