import { sql } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import { isDuplicate, withTenant } from '#platform/database/tenant.ts';
import type { Principal } from '#platform/identity/principal.ts';
import { enqueue } from '#platform/temporal/outbox.ts';
import type { Owed } from '../delivery.ts';
import type { GuardDeps } from '../deps.ts';
import { type AskedDecision, assertAnswerable, assertMayDecide } from './answerable.ts';
import { type DecisionRow, type LockedQuestion, lockQuestion, mayUsersConfirm, type Question } from './questions.ts';
import { recordDecision } from './record.ts';

export interface Decided {
  readonly question: Question & { readonly decision: DecisionRow };
  readonly usersMayConfirm: boolean;
  readonly owed: Owed;
}

/**
 * Records a person's answer together with everything that follows from it, in one transaction. What is then owed to the
 * run stands in the outbox; delivering it is the caller's.
 */
export async function decide(
  deps: GuardDeps,
  person: Principal,
  requestId: string,
  asked: AskedDecision,
): Promise<Decided> {
  try {
    const decided = await withTenant(deps.db, person.tenant, async (trx): Promise<Decided> => {
      const question = await lockQuestion(trx, asked.approvalId);
      const usersMayConfirm = await mayUsersConfirm(trx);
      const earlier = await trx
        .selectFrom('approval_decisions')
        .selectAll()
        .where('decided_by', '=', person.subject)
        .where('request_id', '=', requestId)
        .executeTakeFirst();
      if (earlier) {
        assertSame(earlier, asked);
        const row = await trx
          .selectFrom('outbox')
          .select('id')
          .where('run_id', '=', question.run.id)
          .where('kind', '=', 'decide_approval')
          .where(sql<boolean>`payload->>'approvalId' = ${asked.approvalId}`)
          .executeTakeFirst();
        return decidedOf(question, earlier, usersMayConfirm, row?.id ?? null);
      }
      assertMayDecide(person, question, usersMayConfirm);
      assertAnswerable(question, question.run, asked.digest);
      const decision = await recordDecision(trx, question, {
        answer: asked.answer,
        reason: asked.reason,
        decidedBy: person.subject,
        roles: person.roles,
        requestId,
        via: 'decide',
      });
      const outbox = await enqueue(trx, person.tenant, {
        kind: 'decide_approval',
        runId: question.run.id,
        payload: { approvalId: question.approval.id, digest: question.approval.digest },
      });
      return decidedOf(question, decision, usersMayConfirm, outbox);
    });
    deps.notifier.wake(decided.owed.run);
    const { decision } = decided.question;
    deps.log.info(
      { run: decision.run_id, call: decision.call_id, approval: decision.approval_id, answer: decision.answer },
      'decision recorded',
    );
    return decided;
  } catch (error) {
    if (isDuplicate(error, 'approval_decisions_request')) throw reused(requestId);
    throw error;
  }
}

function assertSame(earlier: DecisionRow, asked: AskedDecision): void {
  const same =
    earlier.approval_id === asked.approvalId &&
    earlier.answer === asked.answer &&
    earlier.digest === asked.digest &&
    earlier.reason === asked.reason;
  if (!same) throw reused(earlier.request_id);
}

function reused(requestId: string): StewardError {
  return new StewardError(
    'REQUEST_ID_REUSED',
    `Request id ${requestId} was used for another answer. Choose a new one for every answer.`,
  );
}

function decidedOf(
  question: LockedQuestion,
  decision: DecisionRow,
  usersMayConfirm: boolean,
  outbox: number | null,
): Decided {
  const { approval, run } = question;
  return {
    question: { approval, decision },
    usersMayConfirm,
    owed: {
      tenant: run.tenant,
      run: run.id,
      outbox,
      decision: decision.id,
      signal: { approvalId: approval.id, digest: approval.digest },
    },
  };
}
