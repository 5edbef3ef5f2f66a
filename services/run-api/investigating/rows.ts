import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import type { Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import type { InvestigationSchema } from '#gen/steward/admin/v1/investigation_service_pb.ts';
import type { Database } from '#platform/database/tables.ts';

/** Investigations with what is shown of their runs. */
export function investigationRows(trx: Transaction<Database>) {
  return trx
    .selectFrom('investigations as i')
    .innerJoin('agent_runs as r', 'r.id', 'i.run_id')
    .select(['i.run_id', 'r.agent', 'r.acting_user', 'r.status as run_status', 'i.reasons', 'i.evidence', 'i.state'])
    .select(['i.assignee', 'i.opened_at', 'i.closed_at', 'i.closed_by', 'i.finding', 'i.notes']);
}

export type InvestigationRow = Awaited<ReturnType<ReturnType<typeof investigationRows>['execute']>>[number];

/** Locks it. Throws NOT_FOUND where the run is not in the queue. */
export async function lockInvestigation(trx: Transaction<Database>, run: string): Promise<InvestigationRow> {
  const row = await investigationRows(trx).where('i.run_id', '=', run).forNoKeyUpdate('i').executeTakeFirst();
  if (row !== undefined) return row;
  throw notInQueue(run);
}

export function notInQueue(run: string): StewardError {
  return new StewardError('NOT_FOUND', `Run ${run} is not in the queue of those to be looked at. Check the id.`);
}

export function toInvestigation(row: InvestigationRow): MessageInitShape<typeof InvestigationSchema> {
  return {
    runId: row.run_id,
    agent: row.agent,
    actingUser: row.acting_user,
    runStatus: row.run_status,
    reasons: row.reasons,
    evidence: row.evidence.map(({ text }) => String(text ?? '')),
    state: row.state,
    assignee: row.assignee ?? '',
    openedAt: timestampFromDate(row.opened_at),
    ...(row.closed_at === null ? {} : { closedAt: timestampFromDate(row.closed_at) }),
    closedBy: row.closed_by ?? '',
    finding: row.finding ?? '',
  };
}
