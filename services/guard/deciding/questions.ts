import type { Selectable, Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import type { ApprovalsTable, Database, DecisionsTable } from '#platform/database/tables.ts';
import { lockRun, type RunRow } from '../runs.ts';

export type ApprovalRow = Selectable<ApprovalsTable>;
export type DecisionRow = Selectable<DecisionsTable>;

/** One question with what was answered. */
export interface Question {
  readonly approval: ApprovalRow;
  readonly decision: DecisionRow | null;
}

/** A question with its run, both locked until the end of the transaction. */
export interface LockedQuestion extends Question {
  readonly run: RunRow;
}

/** Where a question stands. The stored answer counts, then the clock: the state column is for lists. */
export type Standing = 'open' | 'approved' | 'denied' | 'expired' | 'void';

export function standingOf(question: Question, run: Pick<RunRow, 'closed_at'> | null, now = Date.now()): Standing {
  const { approval, decision } = question;
  if (decision) return decision.answer === 'approve' ? 'approved' : 'denied';
  if (approval.state === 'expired' || approval.state === 'void') return approval.state;
  if (run !== null && run.closed_at !== null) return 'void';
  return approval.expires_at.getTime() > now ? 'open' : 'expired';
}

/** What an id can be: anything else, Postgres might not even take as text. */
const ID = /^[\w-]{1,100}$/;

/** Throws NOT_FOUND where the tenant has no such approval. */
export async function readQuestion(trx: Transaction<Database>, id: string): Promise<Question> {
  if (!ID.test(id)) throw noApproval(id);
  const approval = await trx.selectFrom('approvals').selectAll().where('id', '=', id).executeTakeFirst();
  if (!approval) throw noApproval(id);
  return { approval, decision: await readDecision(trx, id) };
}

/** Locks the run first, then the approval: the order everywhere. Throws NOT_FOUND. */
export async function lockQuestion(trx: Transaction<Database>, id: string): Promise<LockedQuestion> {
  if (!ID.test(id)) throw noApproval(id);
  const found = await trx.selectFrom('approvals').select('run_id').where('id', '=', id).executeTakeFirst();
  if (!found) throw noApproval(id);
  const run = await lockRun(trx, found.run_id);
  const approval = await trx
    .selectFrom('approvals')
    .selectAll()
    .where('id', '=', id)
    .forNoKeyUpdate()
    .executeTakeFirstOrThrow();
  if (!run) throw new StewardError('INTERNAL', `Approval ${id} has no run.`);
  return { run, approval, decision: await readDecision(trx, id) };
}

export async function readDecision(trx: Transaction<Database>, approval: string): Promise<DecisionRow | null> {
  const row = await trx
    .selectFrom('approval_decisions')
    .selectAll()
    .where('approval_id', '=', approval)
    .executeTakeFirst();
  return row ?? null;
}

/** Whether this tenant lets users confirm the calls made for them. */
export async function mayUsersConfirm(trx: Transaction<Database>): Promise<boolean> {
  const row = await trx.selectFrom('tenants').select('users_may_confirm').executeTakeFirst();
  return row?.users_may_confirm ?? false;
}

export function noApproval(id: string): StewardError {
  return new StewardError('NOT_FOUND', `There is no approval ${id.slice(0, 100)}.`);
}
