import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { StewardError } from '#domain/errors.ts';
import type { ApprovalSchema } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { ApprovalState } from '#gen/steward/guard/v1/guard_service_pb.ts';
import { toWireChange } from '#platform/clients/change.ts';
import { parseActionRecord } from '#platform/identity/action-record.ts';
import { canonicalJson, digestOf } from '#platform/identity/canonical-json.ts';
import type { RunRow } from '../runs.ts';
import { type Question, type Standing, standingOf } from './questions.ts';

const STATES: Readonly<Record<Standing, ApprovalState>> = {
  open: ApprovalState.OPEN,
  approved: ApprovalState.APPROVED,
  denied: ApprovalState.DENIED,
  expired: ApprovalState.EXPIRED,
  void: ApprovalState.VOID,
};

/** A standing as contracts name it. */
export function toWireState(standing: Standing): ApprovalState {
  return STATES[standing];
}

/**
 * An approval as people see it: tool and arguments come from the bytes the digest covers, so that what is shown is what
 * will run. Throws INTERNAL where the stored bytes are not those of the stored digest.
 */
export function toWireApproval(
  question: Question,
  run: Pick<RunRow, 'closed_at'> | null,
  usersMayConfirm: boolean,
): MessageInitShape<typeof ApprovalSchema> {
  const { approval, decision } = question;
  if (digestOf(approval.action_record) !== approval.digest) {
    throw new StewardError(
      'INTERNAL',
      `The stored action record of approval ${approval.id} is not the one of its digest.`,
    );
  }
  const action = parseActionRecord(approval.action_record);
  return {
    id: approval.id,
    runId: approval.run_id,
    callId: action.call,
    agent: approval.agent,
    actingUser: action.user,
    catalog: action.catalog,
    tool: action.tool,
    argsJson: canonicalJson(action.args),
    digest: approval.digest,
    ...(approval.preview === null ? {} : { preview: toWireChange(approval.preview) }),
    tier: approval.tier,
    why: approval.why,
    state: toWireState(standingOf(question, run)),
    createdAt: timestampFromDate(approval.created_at),
    expiresAt: timestampFromDate(approval.expires_at),
    decidedBy: decision?.decided_by ?? '',
    reason: decision?.reason ?? '',
    ...(decision ? { decidedAt: timestampFromDate(decision.decided_at) } : {}),
    policySetHash: approval.policy_set_hash,
    previewError: approval.preview_error ?? '',
    userMayConfirm: usersMayConfirm,
  };
}
