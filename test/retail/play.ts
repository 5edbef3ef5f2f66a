import { setTimeout as sleep } from 'node:timers/promises';
import type { JsonObject } from '#domain/json.ts';
import { Answer } from '#gen/steward/guard/v1/approval_service_pb.ts';
import { RunStatus, type ToolCall } from '#gen/steward/run/v1/run_service_pb.ts';
import type { TestStack, Who } from '#test/support/stack.ts';
import type { Ended } from './compare.ts';
import type { Task } from './data.ts';
import { openShop } from './shops.ts';

const PAUSE_MS = 200;
const AGENT = 'retail';

const TOOLS = `
  orders: [find_user_id_by_email, find_user_id_by_name_zip, get_user_details, get_order_details, get_product_details,
    get_item_details, list_all_product_types, calculate, transfer_to_human_agents, cancel_pending_order,
    modify_pending_order_address, modify_user_address, modify_pending_order_payment, modify_pending_order_items,
    exchange_delivered_order_items, return_delivered_order_items]`;

/** How one task's run ended. */
export interface Played {
  readonly run: string;
  readonly status: string;
  /** Its calls in order. */
  readonly calls: readonly Ended[];
}

/** The tenant whose shop a task is played on. */
export function tenantOf(task: Task): string {
  return `retail-${task.id}`;
}

/**
 * Plays one task as a run in a shop of its own, approving whatever is asked. Repeats what a killed process left
 * unanswered, under the same request ids, until `over`.
 */
export async function play(s: TestStack, task: Task, over: AbortSignal): Promise<Played> {
  const tenant = tenantOf(task);
  const as = (subject: string, roles: Who['roles'], more: Partial<Who> = {}) =>
    s.as({ tenant, subject, roles, ...more });
  const admin = as('admin', ['admin', 'operator']);
  const approver = as('approver', ['approver']);
  const desk = as('desk', ['service'], { onBehalfOf: 'agent@shop.example' });

  await openShop(s, tenant);
  await persist(over, () => admin.admin.applyAgent({ yaml: agentYaml() }));
  // Recorded refunds go up to thousands of dollars: this shop allows them.
  for (const scope of ['action', 'user-day', 'tenant-day']) {
    await persist(over, () => admin.limits.setLimit({ quantity: 'refund.cents', scope }));
  }
  const calls = task.actions.map((action) => ({ tool: action.tool, args: action.arguments }));
  const { run } = await persist(over, () =>
    desk.runs.startRun({
      requestId: `retail-${task.id}`,
      agent: AGENT,
      input: `${task.scenario.reason_for_call}\nparams: ${JSON.stringify({ calls })}`,
    }),
  );
  const runId = run?.id ?? '';
  for (;;) {
    const now = await persist(over, () => admin.runs.getRun({ runId }));
    if (now.run?.closedAt !== undefined) {
      return { run: runId, status: nameOf(now.run.status), calls: await callsOf(s, admin, runId, over) };
    }
    for (const approvalId of now.run?.openApprovals ?? []) {
      // Whoever answers sees the exact call first.
      const { approval } = await persist(over, () => approver.approvals.getApproval({ approvalId }));
      const digest = approval?.digest ?? '';
      const decision = { approvalId, answer: Answer.APPROVE, digest, reason: 'as recorded' };
      await approver.approvals.decide({ requestId: approvalId, decision }).catch(() => undefined);
    }
    await pause(over);
  }
}

function nameOf(status: RunStatus): string {
  return Object.entries(RunStatus).find(([, value]) => value === status)?.[0] ?? String(status);
}

async function callsOf(
  s: TestStack,
  admin: ReturnType<TestStack['as']>,
  runId: string,
  over: AbortSignal,
): Promise<Ended[]> {
  const ids = await s.query<{ call_id: string }>(
    'select call_id from steward.agent_run_tool_invocations where run_id = $1 order by turn, call_id',
    [runId],
  );
  const calls: Ended[] = [];
  for (const { call_id: callId } of ids) {
    const { call } = await persist(over, () => admin.runs.getToolCall({ runId, callId }));
    if (call !== undefined) calls.push(endedOf(call));
  }
  return calls;
}

function endedOf({ tool, argsJson, resultJson, state, errorCode }: ToolCall): Ended {
  const done = state === 'done' && errorCode === '';
  return {
    tool,
    args: JSON.parse(argsJson) as JsonObject,
    result: done ? (JSON.parse(resultJson) as JsonObject) : null,
    error: errorCode === '' ? state : errorCode,
  };
}

/** Repeats until it does not fail, or everything is over. */
async function persist<T>(over: AbortSignal, work: () => Promise<T>): Promise<T> {
  for (;;) {
    over.throwIfAborted();
    try {
      return await work();
    } catch (error) {
      if (over.aborted) throw error;
      await pause(over);
    }
  }
}

async function pause(over: AbortSignal): Promise<void> {
  await sleep(PAUSE_MS, undefined, { signal: over });
}

function agentYaml(): string {
  return [
    `name: ${AGENT}`,
    'description: Plays a recorded request.',
    'model: claude-sonnet-5-5',
    'max_output_tokens: 1024',
    'instructions: |',
    '  script: retail',
    `tools:${TOOLS}`,
    'budget: $5',
    'limits:',
    '  model_calls: 40',
    'waits:',
    '  approval: 30m',
    '',
  ].join('\n');
}
