import { randomUUID } from 'node:crypto';
import type { Transaction } from 'kysely';
import { callIdOf } from '#domain/ids.ts';
import { crossedWarnings } from '#domain/run.ts';
import { hasEffect, keptKeys } from '#domain/tools.ts';
import { BUILT_IN_RULES } from '#domain/verdict.ts';
import { type NewEvent, type NewStep, record } from '#platform/database/journal.ts';
import type { Database } from '#platform/database/tables.ts';
import { digestOf } from '#platform/identity/canonical-json.ts';
import { refusalAnswer } from '../answers.ts';
import { plainText } from '../plain-text.ts';
import type { RunRow } from '../runs.ts';
import type { Turn } from './assess.ts';
import type { JudgedCall } from './judge-turn.ts';

/** Names the rules in force: recorded with every verdict. */
export const POLICY_SET_HASH = digestOf(BUILT_IN_RULES);

interface Stored {
  readonly judged: JudgedCall;
  readonly id: string;
  readonly tool: string;
  /** Asks only. */
  readonly approval: { readonly id: string; readonly expiresAt: Date } | null;
}

/**
 * Commits the verdicts of a turn with the answers to denied calls and the questions to people, in the caller's
 * transaction, which holds the run's row.
 */
export async function storeVerdicts(
  trx: Transaction<Database>,
  run: RunRow,
  turn: Turn,
  calls: readonly JudgedCall[],
): Promise<void> {
  const expiresAt = new Date(Date.now() + run.waits.approvalMs);
  const stored = calls.map((judged): Stored => {
    const approval = judged.finding.verdict === 'ask' ? { id: randomUUID(), expiresAt } : null;
    const id = callIdOf(turn.number, judged.index);
    return { judged, id, tool: plainText(judged.call.tool, 200), approval };
  });
  if (stored.length === 0) return;
  await trx
    .insertInto('agent_run_tool_invocations')
    .values(stored.map((one) => invocationOf(run, turn, one)))
    .execute();
  const asked = stored.filter((one) => one.approval !== null);
  if (asked.length > 0) {
    await trx
      .insertInto('approvals')
      .values(asked.flatMap((one) => approvalOf(run, one)))
      .execute();
  }
  const admitted = stored.filter((one) => one.judged.finding.verdict !== 'deny').length;
  if (admitted > 0) {
    await trx
      .updateTable('agent_runs')
      .set({
        tool_calls: run.tool_calls + admitted,
        open_approvals: run.open_approvals + asked.length,
        ...(asked.length > 0 && run.status === 'running'
          ? { status: 'awaiting_approval' as const, waits_until: expiresAt }
          : {}),
      })
      .where('id', '=', run.id)
      .execute();
  }
  await record(trx, run.tenant, run.id, {
    steps: stored.flatMap((one) => stepsOf(turn, one)),
    events: [...stored.flatMap((one) => eventsOf(turn, one)), ...warningsOf(run, turn, admitted)],
  });
}

function invocationOf(run: RunRow, turn: Turn, { judged, id, tool: name, approval }: Stored) {
  const { finding, tool, read } = judged;
  const denied = finding.verdict === 'deny';
  return {
    tenant: run.tenant,
    run_id: run.id,
    call_id: id,
    turn: turn.number,
    ordinal: judged.index,
    provider_id: judged.call.providerId,
    catalog: tool?.catalog ?? null,
    tool: name,
    tool_hash: tool?.hash ?? null,
    args: read.args === undefined ? null : JSON.stringify(read.args),
    action_record: denied ? null : Buffer.from(finding.record.bytes),
    digest: denied ? null : finding.record.digest,
    key: denied ? null : finding.record.key,
    sig: judged.sig,
    verdict: finding.verdict,
    verdict_code: denied ? finding.code : null,
    verdict_reason: denied ? finding.reason : null,
    why: [...finding.why],
    policy_set_hash: POLICY_SET_HASH,
    resource_keys: keptKeys(judged.keys),
    has_effect: tool !== undefined && hasEffect(tool),
    timeout_ms: tool?.timeoutMs ?? null,
    approval_id: approval?.id ?? null,
    state: denied ? ('denied' as const) : ('judged' as const),
    error_code: denied ? finding.code : null,
    error_message: denied ? finding.reason : null,
    ended_at: denied ? new Date() : null,
  };
}

function approvalOf(run: RunRow, { judged, id, approval }: Stored) {
  const { finding, tool } = judged;
  if (finding.verdict !== 'ask' || !tool || !approval) return [];
  return [
    {
      tenant: run.tenant,
      id: approval.id,
      run_id: run.id,
      call_id: id,
      agent: run.agent,
      acting_user: run.acting_user,
      catalog: tool.catalog,
      tool: tool.name,
      action_record: Buffer.from(finding.record.bytes),
      digest: finding.record.digest,
      preview: finding.preview === null ? null : JSON.stringify(finding.preview),
      preview_error: finding.previewError,
      tier: finding.tier,
      why: [...finding.why],
      policy_set_hash: POLICY_SET_HASH,
      state: 'open' as const,
      expires_at: approval.expiresAt,
    },
  ];
}

function stepsOf(turn: Turn, { judged, id }: Stored): NewStep[] {
  const { finding } = judged;
  if (finding.verdict !== 'deny') return [];
  const content = refusalAnswer(
    { callId: id, providerId: judged.call.providerId },
    { code: finding.code, message: finding.reason, ...(finding.details ? { details: finding.details } : {}) },
  );
  return [{ kind: 'tool_result', turn: turn.number, callId: id, ordinal: judged.index, content }];
}

function eventsOf(turn: Turn, { judged, id, tool, approval }: Stored): NewEvent[] {
  const { finding } = judged;
  const about = { turn: turn.number, callId: id };
  switch (finding.verdict) {
    case 'allow':
      return [];
    case 'deny':
      return [{ ...about, kind: 'tool.denied', data: { tool, code: finding.code, reason: finding.reason } }];
    case 'ask':
      return [
        {
          ...about,
          kind: 'approval.asked',
          data: {
            approval: approval?.id ?? '',
            tool,
            tier: finding.tier,
            why: finding.why,
            digest: finding.record.digest,
            expiresAt: approval?.expiresAt.getTime() ?? 0,
            summary: finding.preview?.summary || tool,
          },
        },
      ];
  }
}

function warningsOf(run: RunRow, turn: Turn, admitted: number): NewEvent[] {
  // Only tool calls are counted here; the rest is the worker's to warn of.
  const counted = (toolCalls: number) => ({ modelCalls: 0, toolCalls, tokens: 0, activeMs: 0, spent: 0 });
  const crossed = crossedWarnings(counted(run.tool_calls), counted(run.tool_calls + admitted), run.limits, 0);
  return crossed
    .filter((warning) => warning.limit === 'tool_calls')
    .map((data) => ({ kind: 'limit.warning', turn: turn.number, data }));
}
