import { setCurrentDetails, upsertSearchAttributes, workflowInfo } from '@temporalio/workflow';
import { defineSearchAttributeKey } from '@temporalio/common';
import type { RunInput, RunStateView } from '#domain/run-workflow.ts';
import type { RunStatus, StopReason } from '#domain/run.ts';

const RUN_STATUS = defineSearchAttributeKey('RunStatus', 'KEYWORD');
const STOP_REASON = defineSearchAttributeKey('StopReason', 'KEYWORD');
const TOOLS_USED = defineSearchAttributeKey('ToolsUsed', 'KEYWORD_LIST');
const COST = defineSearchAttributeKey('CostMicroUsd', 'INT');
const STEPS = defineSearchAttributeKey('StepCount', 'INT');
const AWAITING_SINCE = defineSearchAttributeKey('AwaitingSince', 'DATETIME');

/** What lists in Temporal's Web UI are filtered by. Written when the status changes, not every turn: each is an event. */
export function showStatus(
  status: RunStatus,
  counts: { readonly costMicroUsd: number; readonly toolsUsed: readonly string[] },
  end: { readonly reason: StopReason | null; readonly steps: number } | null,
): void {
  const waiting = status === 'awaiting_approval' || status === 'budget_exceeded' || status === 'paused';
  upsertSearchAttributes([
    { key: RUN_STATUS, value: status },
    { key: COST, value: counts.costMicroUsd },
    { key: TOOLS_USED, value: [...counts.toolsUsed] },
    { key: AWAITING_SINCE, value: waiting && !end ? new Date() : null },
    ...(end ? [{ key: STEPS, value: end.steps }] : []),
    ...(end?.reason ? [{ key: STOP_REASON, value: end.reason }] : []),
  ]);
}

/** What the page of this run in Temporal's Web UI says; kept in memory only, so it costs no history. */
export function showDetails(input: RunInput, view: RunStateView): void {
  const lines = [
    `**${view.phase.replace('_', ' ')}** in turn ${view.turn}`,
    '',
    `- tenant: ${input.tenant}`,
    `- agent: ${input.agent}`,
    `- cost: $${(view.costMicroUsd / 1e6).toFixed(4)}`,
    `- model calls: ${view.modelCalls} of ${input.limits.modelCalls}`,
    `- tool calls: ${view.toolCalls} of ${input.limits.toolCalls}`,
    ...view.running.map((call) => `- running: ${call.tool} (${call.callId})`),
    ...view.waitingFor.map((wait) => `- waiting for a person: ${wait.tool} (${wait.callId}), approval \`${wait.approvalId}\``),
    `- events in this execution: ${workflowInfo().historyLength}`,
  ];
  setCurrentDetails(lines.join('\n'));
}
