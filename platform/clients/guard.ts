import { timestampMs } from '@bufbuild/protobuf/wkt';
import { type ErrorCode, isErrorCode, isStewardError, StewardError } from '#domain/errors.ts';
import type { ConfirmDecisionResult, JudgedCall } from '#domain/ports/run-activities.ts';
import type { BegunCall, CallLeave, GuardPort } from '#domain/ports/services.ts';
import type { UndoGuardPort } from '#domain/ports/undo.ts';
import {
  ApprovalState,
  GuardService,
  VerdictKind,
  type JudgedCall as WireCall,
} from '#gen/steward/guard/v1/guard_service_pb.ts';
import { type Connection, connect } from '#platform/grpc/client.ts';
import { callSignature } from '#platform/identity/call-signature.ts';

/** Judging previews what is asked for, in catalogs; each has its own, shorter deadline. */
const JUDGE_MS = 45_000;
const ANSWER_MS = 10_000;

const VERDICTS: Partial<Record<number, JudgedCall['verdict']>> = {
  [VerdictKind.ALLOW]: 'allow',
  [VerdictKind.DENY]: 'deny',
  [VerdictKind.ASK]: 'ask',
};

const STATES: Partial<Record<number, ConfirmDecisionResult['state']>> = {
  [ApprovalState.OPEN]: 'open',
  [ApprovalState.APPROVED]: 'approved',
  [ApprovalState.DENIED]: 'denied',
  [ApprovalState.EXPIRED]: 'expired',
  [ApprovalState.VOID]: 'void',
};

/** The guard over gRPC. */
export function connectGuard(options: {
  readonly address: string;
  readonly token: () => Promise<string>;
}): GuardPort & UndoGuardPort & Pick<Connection<typeof GuardService>, 'close'> {
  const { client, close } = connect(GuardService, { address: options.address, token: options.token, name: 'guard' });
  return {
    close,

    async judge(runGrant, turn, calls, signal) {
      const answer = await asked(client.judge)(
        {
          runGrant,
          turn,
          begin: true,
          calls: calls.map((call) => ({
            callId: call.callId,
            tool: call.tool,
            argsJson: call.argsJson ?? '',
            providerId: call.providerId,
            malformed: call.malformed ?? '',
          })),
        },
        { signal: signal as AbortSignal, deadlineMs: JUDGE_MS },
      );
      const found = new Map(answer.calls.map((call) => [call.callId, call]));
      const judged = calls.map((call) => {
        const verdict = found.get(call.callId);
        if (!verdict) throw new StewardError('INTERNAL', `The guard did not judge call ${call.callId}.`);
        const sig = callSignature(call.tool, call.argsJson ?? call.malformed ?? '');
        return { verdict, call: toJudged(verdict, call.tool, sig) };
      });
      return {
        calls: judged.map(({ call }) => call),
        begun: judged.flatMap(({ verdict, call }) => toBegun(verdict, call)),
      };
    },

    async authorize(runGrant, callId, digest, signal) {
      const granted = await asked(client.authorize)(
        { runGrant, callId, digest },
        { signal: signal as AbortSignal, deadlineMs: ANSWER_MS },
      );
      return toLeave(granted);
    },

    async authorizeUndo(runGrant, undoId, callId, signal) {
      const granted = await asked(client.authorizeUndo)(
        { runGrant, undoId, callId },
        { signal: signal as AbortSignal, deadlineMs: ANSWER_MS },
      );
      return toLeave(granted);
    },

    async confirmDecision(runGrant, approvalId, signed, signal) {
      const answer = await asked(client.confirmDecision)(
        { runGrant, approvalId, signedDecision: signed ?? '' },
        { signal: signal as AbortSignal, deadlineMs: ANSWER_MS },
      );
      const state = STATES[answer.state];
      if (!state) throw new StewardError('INTERNAL', 'The guard gave no state of the approval.');
      return { state };
    },
  };
}

/** A refusal that is about this worker, not about the call, is no answer of the guard's: nothing is decided by it. */
function asked<Args extends readonly unknown[], Answer>(
  method: (...args: Args) => Promise<Answer>,
): (...args: Args) => Promise<Answer> {
  return async (...args) => {
    try {
      return await method(...args);
    } catch (error) {
      if (!isStewardError(error) || !(error.code.startsWith('TOKEN_') || error.code === 'ROLE_MISSING')) throw error;
      throw new StewardError('UNAVAILABLE', `The guard does not take this worker's token: ${error.message}`, {
        cause: error,
      });
    }
  };
}

/** Absent fields stay absent: this stands in the history of the run. */
function toJudged(call: WireCall, tool: string, sig: string): JudgedCall {
  // A verdict this worker does not know is no permission.
  const verdict = VERDICTS[call.verdict] ?? 'deny';
  return {
    id: call.callId,
    tool,
    verdict,
    sig,
    ...(verdict === 'deny' ? { code: codeOf(call.code) } : {}),
    ...(call.approvalId === '' ? {} : { approval: call.approvalId }),
    ...(call.expiresAt ? { expiresAt: timestampMs(call.expiresAt) } : {}),
    ...(call.digest === '' ? {} : { digest: call.digest }),
    ...(call.resourceKeys.length === 0 ? {} : { keys: call.resourceKeys }),
    ...(call.effect ? { effect: true } : {}),
  };
}

function toLeave({ actionRecord, catalog, executionGrants, attempt }: CallLeave): CallLeave {
  return { actionRecord, catalog, executionGrants, attempt };
}

function toBegun(
  { begun, timeoutMs }: WireCall,
  { id, tool, verdict, digest, effect = false }: JudgedCall,
): BegunCall[] {
  if (!begun || verdict !== 'allow' || digest === undefined) return [];
  return [{ callId: id, tool, digest, timeoutMs, hasEffect: effect, leave: toLeave(begun) }];
}

function codeOf(text: string): ErrorCode {
  return isErrorCode(text) ? text : 'POLICY_DENIED';
}
