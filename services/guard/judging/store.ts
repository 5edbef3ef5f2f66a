import { randomUUID } from 'node:crypto';
import type { Transaction } from 'kysely';
import { callIdOf } from '#domain/ids.ts';
import { crossedWarnings } from '#domain/run.ts';
import { hasEffect, keptKeys } from '#domain/tools.ts';
import { BUILT_IN_RULES } from '#domain/verdict.ts';
import type { AuditEntry } from '#platform/database/audit.ts';
import { type NewEvent, type NewStep, record } from '#platform/database/journal.ts';
import { hold } from '#platform/database/quantities.ts';
import type { Database } from '#platform/database/tables.ts';
import { digestOf } from '#platform/identity/canonical-json.ts';
import { refusalAnswer } from '../answers.ts';
import { plainText } from '../plain-text.ts';
import { type RunRow, whyMayNotBegin } from '../runs.ts';
import { type Baselines, pauseFor, reportAnomalies, watchTurn } from './anomalies.ts';
import type { Turn } from './assess.ts';
import type { JudgedCall } from './judge-turn.ts';
import { spenderOf } from './limits.ts';

/** Names the rules in force: recorded with every verdict. */
export const POLICY_SET_HASH = digestOf(BUILT_IN_RULES);

/** One call with its verdict, as it is stored. */
export interface Stored {
  readonly judged: JudgedCall;
  readonly id: string;
  readonly tool: string;
  /** Asks only. */
  readonly approval: { readonly id: string; readonly expiresAt: Date } | null;
  /** True where it is marked started with its verdict. */
  readonly begun: boolean;
}

/** A worker carries out so many of a turn's calls itself; further ones may go to others, which must ask anyway. */
const MOST_BEGUN = 3;
/** Bytes of action records that are begun together at most: they all stand in one answer. */
const MOST_BEGUN_BYTES = 262_144;

/**
 * Commits the verdicts of a turn with the answers to denied calls and the questions to people, in the caller's
 * transaction, which holds the run's row. With `begin`, calls that are allowed and wait for no other are marked started.
 */
export async function storeVerdicts(
  trx: Transaction<Database>,
  run: RunRow,
  turn: Turn,
  calls: readonly JudgedCall[],
  options: { readonly begin: boolean; readonly spent: number; readonly baselines: Baselines },
): Promise<{ readonly stored: readonly Stored[]; readonly pause: number | null }> {
  const expiresAt = new Date(Date.now() + run.waits.approvalMs);
  // One that is paused already is looked at all the same: else whoever paused it could let it go on unseen.
  const open = run.closed_at === null && run.cancel_requested_by === null;
  const { watched, anomalies } = await watchTurn(trx, options.baselines, run, { calls, open, spent: options.spent });
  const mayBegin = options.begin && whyMayNotBegin(run) === null && anomalies.length === 0;
  let [left, room] = [MOST_BEGUN, MOST_BEGUN_BYTES];
  const stored = calls.map((judged, at): Stored => {
    const { finding, index } = judged;
    const approval = finding.verdict === 'ask' ? { id: randomUUID(), expiresAt } : null;
    const size = finding.verdict === 'allow' ? finding.record.bytes.length : room + 1;
    const begun =
      mayBegin && left > 0 && size <= room && !calls.slice(0, at).some((earlier) => conflict(earlier, judged));
    if (begun) [left, room] = [left - 1, room - size];
    return { judged, id: callIdOf(turn.number, index), tool: plainText(judged.call.tool, 200), approval, begun };
  });
  if (stored.length === 0) return { stored, pause: null };
  await trx
    .insertInto('agent_run_tool_invocations')
    .values(stored.map((one) => invocationOf(run, turn, one)))
    .execute();
  for (const { judged, id, begun } of stored) {
    if (begun && judged.finding.verdict === 'allow') await hold(trx, spenderOf(run), id, judged.finding.spends);
  }
  const asked = stored.filter((one) => one.approval !== null);
  if (asked.length > 0) {
    await trx
      .insertInto('approvals')
      .values(asked.flatMap((one) => approvalOf(run, one)))
      .execute();
  }
  const admitted = stored.filter((one) => one.judged.finding.verdict !== 'deny').length;
  const unusual = anomalies.length > 0 ? pauseFor(run, anomalies) : null;
  const pause = unusual ? await reportAnomalies(trx, run, turn.number, anomalies) : null;
  await record(trx, run.tenant, run.id, {
    run: {
      watched: JSON.stringify(watched),
      tool_calls: run.tool_calls + admitted,
      open_approvals: run.open_approvals + asked.length,
      ...(asked.length > 0 && run.status === 'running'
        ? { status: 'awaiting_approval' as const, waits_until: expiresAt }
        : {}),
      ...unusual?.run,
    },
    steps: stored.flatMap((one) => stepsOf(turn, one)),
    events: [
      ...stored.flatMap((one) => eventsOf(turn, one)),
      ...warningsOf(run, turn, admitted),
      ...(unusual?.events ?? []),
    ],
    audit: stored.map((one) => auditOf(run, one)),
  });
  return { stored, pause };
}

/** Whether the workflow runs two calls one after the other: it goes by the keys that are stored. */
function conflict(one: JudgedCall, other: JudgedCall): boolean {
  const effect = [one, other].some(({ tool }) => tool !== undefined && hasEffect(tool));
  const keys = keptKeys(one.keys);
  return effect && keptKeys(other.keys).some((key) => keys.includes(key));
}

function invocationOf(run: RunRow, turn: Turn, { judged, id, tool: name, approval, begun }: Stored) {
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
    spends: denied || Object.keys(finding.spends).length === 0 ? null : JSON.stringify(finding.spends),
    policy_set_hash: POLICY_SET_HASH,
    resource_keys: keptKeys(judged.keys),
    has_effect: tool !== undefined && hasEffect(tool),
    timeout_ms: tool?.timeoutMs ?? null,
    approval_id: approval?.id ?? null,
    state: denied ? ('denied' as const) : begun ? ('started' as const) : ('judged' as const),
    attempts: begun ? 1 : 0,
    started_at: begun ? new Date() : null,
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

function auditOf(run: RunRow, { judged, id, tool, approval, begun }: Stored): AuditEntry {
  const { finding, read } = judged;
  const denied = finding.verdict === 'deny';
  return {
    actor: run.acting_user,
    action: `verdict.${finding.verdict}`,
    run: run.id,
    call: id,
    tool,
    policySet: POLICY_SET_HASH,
    ...(denied ? {} : { digest: finding.record.digest }),
    ...(approval ? { grants: { approval: approval.id } } : {}),
    data: {
      arguments: read.args ?? null,
      why: [...finding.why],
      begun,
      ...(denied ? { code: finding.code, reason: finding.reason } : {}),
    },
  };
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

function eventsOf(turn: Turn, { judged, id, tool, approval, begun }: Stored): NewEvent[] {
  const { finding } = judged;
  const about = { turn: turn.number, callId: id };
  switch (finding.verdict) {
    case 'allow': {
      const data = { tool, catalog: judged.tool?.catalog ?? '', attempt: 1, approvedBy: 'policy' };
      return begun ? [{ ...about, kind: 'tool.started', data }] : [];
    }
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
