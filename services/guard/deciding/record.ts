import { randomUUID } from 'node:crypto';
import type { Transaction } from 'kysely';
import { parseCallId } from '#domain/ids.ts';
import { audit, type NewEvent, type NewStep, record } from '#platform/database/journal.ts';
import type { Database } from '#platform/database/tables.ts';
import { refusalAnswer } from '../answers.ts';
import type { DecisionRow, LockedQuestion } from './questions.ts';

/** One person's answer, checked, about to be recorded. */
export interface NewDecision {
  readonly answer: 'approve' | 'deny';
  readonly reason: string;
  readonly decidedBy: string;
  readonly roles: readonly string[];
  /** Unique per person: theirs, or the signed decision's id. */
  readonly requestId: string;
  readonly via: 'decide' | 'signed';
}

/**
 * Records the first answer to a locked question: the decision, what follows for run and call, event, audit row, and
 * where it is a no the answer the model gets. Unique violation `approval_decisions_request` where the request id was
 * used for another approval meanwhile.
 */
export async function recordDecision(
  trx: Transaction<Database>,
  question: LockedQuestion,
  made: NewDecision,
): Promise<DecisionRow> {
  const { approval, run } = question;
  const decision = await trx
    .insertInto('approval_decisions')
    .values({
      tenant: run.tenant,
      id: randomUUID(),
      approval_id: approval.id,
      run_id: run.id,
      call_id: approval.call_id,
      answer: made.answer,
      digest: approval.digest,
      decided_by: made.decidedBy,
      roles: [...made.roles],
      reason: made.reason,
      request_id: made.requestId,
      via: made.via,
      decided_at: new Date(),
    })
    .returningAll()
    .executeTakeFirstOrThrow();
  const denied = made.answer === 'deny';
  const closed = await closeQuestion(trx, question, {
    state: denied ? 'denied' : 'approved',
    refusal: denied
      ? { code: 'APPROVAL_DENIED', message: `denied by ${made.decidedBy}${made.reason ? `: ${made.reason}` : ''}` }
      : null,
  });
  const data = { approval: approval.id, answer: made.answer, by: made.decidedBy, reason: made.reason };
  await record(trx, run.tenant, run.id, {
    steps: closed.steps,
    events: [{ ...about(question), kind: 'approval.decided', data }, ...closed.events],
  });
  await audit(trx, run.tenant, {
    actor: made.decidedBy,
    action: `approval.${made.answer}`,
    run: run.id,
    call: approval.call_id,
    digest: approval.digest,
    tool: approval.tool,
    policySet: approval.policy_set_hash,
    grants: { approval: approval.id, decision: decision.id },
    data: { approval: approval.id, decision: decision.id, via: made.via, reason: made.reason, roles: made.roles },
  });
  return decision;
}

/** Marks a locked question that nobody answered in time, and gives the model its answer. */
export async function recordExpiry(trx: Transaction<Database>, question: LockedQuestion): Promise<void> {
  const { approval, run } = question;
  if (approval.state !== 'open') return;
  const closed = await closeQuestion(trx, question, {
    state: 'expired',
    refusal: {
      code: 'APPROVAL_EXPIRED',
      message: `nobody approved this call before ${approval.expires_at.toISOString()}`,
    },
  });
  await record(trx, run.tenant, run.id, {
    steps: closed.steps,
    events: [{ ...about(question), kind: 'approval.expired', data: { approval: approval.id } }, ...closed.events],
    audit: [
      {
        actor: 'guard',
        action: 'approval.expired',
        run: run.id,
        call: approval.call_id,
        tool: approval.tool,
        digest: approval.digest,
        grants: { approval: approval.id },
      },
    ],
  });
}

/** Notes a decision that did not verify, or was no decision of this call's: event and audit row. */
export async function recordRefusedDecision(
  trx: Transaction<Database>,
  question: LockedQuestion,
  refused: { readonly code: string; readonly why: string; readonly actor: string; readonly tokenDigest: string },
): Promise<void> {
  const { approval, run } = question;
  await record(trx, run.tenant, run.id, {
    events: [{ ...about(question), kind: 'approval.refused', data: { approval: approval.id, code: refused.code } }],
  });
  await audit(trx, run.tenant, {
    actor: refused.actor,
    action: 'approval.refused',
    run: run.id,
    call: approval.call_id,
    digest: approval.digest,
    data: { approval: approval.id, code: refused.code, why: refused.why, tokenDigest: refused.tokenDigest },
  });
}

interface Closing {
  readonly state: 'approved' | 'denied' | 'expired';
  readonly refusal: { readonly code: string; readonly message: string } | null;
}

/** Takes a question off its run and, where the call will not run, ends the call. */
async function closeQuestion(
  trx: Transaction<Database>,
  question: LockedQuestion,
  closing: Closing,
): Promise<{ readonly steps: NewStep[]; readonly events: NewEvent[] }> {
  const { approval, run } = question;
  await trx.updateTable('approvals').set({ state: closing.state }).where('id', '=', approval.id).execute();
  if (approval.state === 'open') {
    const left = Math.max(0, run.open_approvals - 1);
    const goesOn = left === 0 && run.status === 'awaiting_approval';
    await trx
      .updateTable('agent_runs')
      .set({ open_approvals: left, ...(goesOn ? { status: 'running' as const, waits_until: null } : {}) })
      .where('id', '=', run.id)
      .execute();
  }
  return closing.refusal ? endCall(trx, question, closing.refusal) : { steps: [], events: [] };
}

async function endCall(
  trx: Transaction<Database>,
  question: LockedQuestion,
  refusal: { readonly code: string; readonly message: string },
): Promise<{ readonly steps: NewStep[]; readonly events: NewEvent[] }> {
  const { approval, run } = question;
  const call = await trx
    .updateTable('agent_run_tool_invocations')
    .set({ state: 'denied', error_code: refusal.code, error_message: refusal.message, ended_at: new Date() })
    .where('run_id', '=', run.id)
    .where('call_id', '=', approval.call_id)
    .where('state', '=', 'judged')
    .returning(['provider_id', 'ordinal'])
    .executeTakeFirst();
  // Ended otherwise, for example because the run was closed: it has its answer.
  if (!call) return { steps: [], events: [] };
  const { turn, callId } = about(question);
  const content = refusalAnswer({ callId, providerId: call.provider_id }, refusal);
  return {
    steps: [{ kind: 'tool_result', turn, callId, ordinal: call.ordinal, content }],
    events: [
      { turn, callId, kind: 'tool.denied', data: { tool: approval.tool, code: refusal.code, reason: refusal.message } },
    ],
  };
}

function about({ approval }: LockedQuestion): { readonly turn: number; readonly callId: string } {
  return { turn: parseCallId(approval.call_id)?.turn ?? 0, callId: approval.call_id };
}
