import { createHash } from 'node:crypto';
import { sql, type Transaction } from 'kysely';
import type { ClosedStatus, StopReason } from '#domain/run.ts';
import { storableJson } from './storable.ts';
import type { Database } from './tables.ts';

/** Why a run is to be looked at. */
export type InvestigationReason = 'anomaly' | 'aborted' | 'capped' | 'sample';

/**
 * Puts a run into the queue of those that a person is to look at, in the transaction of what is the reason for it. A run
 * that stands there already gets the reason and the evidence added, and is opened again.
 */
export async function openInvestigation(
  trx: Transaction<Database>,
  tenant: string,
  run: string,
  reason: InvestigationReason,
  evidence: readonly object[],
): Promise<void> {
  const shown = storableJson(evidence);
  await sql`
    insert into investigations as i (tenant, run_id, reasons, evidence)
    values (${tenant}, ${run}, array[${reason}], ${shown}::jsonb)
    on conflict (run_id) do update set
      reasons = case when ${reason} = any(i.reasons) then i.reasons else i.reasons || ${reason}::text end,
      evidence = i.evidence || excluded.evidence,
      state = 'open', closed_at = null, closed_by = null, finding = null`.execute(trx);
}

/** Opens one where the end of a run is a reason: aborted, stopped by a cap, or one of the sample. */
export async function investigateEnd(
  trx: Transaction<Database>,
  run: { readonly tenant: string; readonly id: string },
  end: { readonly status: ClosedStatus; readonly reason: StopReason | null; readonly message: string },
): Promise<void> {
  const reason = end.status === 'completed' && end.reason === null ? null : reasonOf(end);
  const { status, message } = end;
  if (reason !== null) {
    const shown = { kind: reason, status, reason: end.reason, text: message };
    return openInvestigation(trx, run.tenant, run.id, reason, [shown]);
  }
  const { sampled_per_mille: perMille } = await trx
    .selectFrom('tenants')
    .select('sampled_per_mille')
    .executeTakeFirstOrThrow();
  if (!isSampled(run.id, perMille)) return;
  await openInvestigation(trx, run.tenant, run.id, 'sample', [{ kind: 'sample', text: 'one of the sample' }]);
}

function reasonOf(end: { readonly status: ClosedStatus; readonly reason: StopReason | null }): 'aborted' | 'capped' {
  const capped = end.status === 'budget_exceeded' || /^(limit\.|budget|stuck|unknown_tool)/.test(end.reason ?? '');
  return capped ? 'capped' : 'aborted';
}

/** The same run is always in the sample, or never: nobody can choose. */
export function isSampled(run: string, perMille: number): boolean {
  return createHash('sha256').update(`sample/${run}`).digest().readUInt32BE(0) % 1_000 < perMille;
}
