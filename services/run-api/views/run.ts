import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { workflowIdOf } from '#domain/ids.ts';
import type { RunStatus } from '#domain/run.ts';
import { RunStatus as ProtoStatus, type RunSchema } from '#gen/steward/run/v1/run_service_pb.ts';
import { readTraceParent, traceIdOf } from '#platform/telemetry/trace.ts';
import type { RunRecord } from '../run-rows.ts';

const STATUSES: Readonly<Record<RunStatus, ProtoStatus>> = {
  pending: ProtoStatus.PENDING,
  queued: ProtoStatus.QUEUED,
  running: ProtoStatus.RUNNING,
  awaiting_approval: ProtoStatus.AWAITING_APPROVAL,
  paused: ProtoStatus.PAUSED,
  completed: ProtoStatus.COMPLETED,
  failed: ProtoStatus.FAILED,
  cancelled: ProtoStatus.CANCELLED,
  budget_exceeded: ProtoStatus.BUDGET_EXCEEDED,
  terminated: ProtoStatus.TERMINATED,
};

/** The status as the database has it; undefined for RUN_STATUS_UNSPECIFIED. */
export function statusOf(proto: ProtoStatus): RunStatus | undefined {
  return (Object.keys(STATUSES) as RunStatus[]).find((status) => STATUSES[status] === proto);
}

/** A run as the world sees it. */
export function toRun(row: RunRecord, temporalUi: (workflowId: string) => string): MessageInitShape<typeof RunSchema> {
  const workflowId = workflowIdOf(row.id);
  return {
    id: row.id,
    tenant: row.tenant,
    agent: row.agent,
    agentHash: row.agent_hash,
    actingUser: row.acting_user,
    startedBy: row.started_by,
    input: row.input,
    labels: row.labels,
    status: STATUSES[row.status],
    stopReason: stopReasonOf(row),
    cost: {
      budgetMicroUsd: BigInt(row.limit_micro_usd ?? 0),
      settledMicroUsd: BigInt(row.settled_micro_usd ?? 0),
      reservedMicroUsd: BigInt(row.reserved_micro_usd ?? 0),
      refundedMicroUsd: BigInt(row.refunded_micro_usd),
      inputTokens: BigInt(row.input_tokens),
      outputTokens: BigInt(row.output_tokens),
      cacheReadTokens: BigInt(row.cache_read_tokens),
      cacheWriteTokens: BigInt(row.cache_write_tokens),
    },
    turns: row.turns,
    toolCalls: row.tool_calls,
    createdAt: timestampFromDate(row.created_at),
    ...(row.closed_at ? { closedAt: timestampFromDate(row.closed_at) } : {}),
    outcome: row.outcome ?? '',
    model: row.model,
    workflowId,
    temporalUi: temporalUi(workflowId),
    traceId: readTraceParent(row.trace_parent)?.trace ?? traceIdOf(row.id),
    head: BigInt(row.event_seq),
    openApprovals: row.open_approval_ids,
    continues: row.earlier_runs.at(-1) ?? '',
    ...(row.waits_until ? { waitsUntil: timestampFromDate(row.waits_until) } : {}),
  };
}

function stopReasonOf(row: RunRecord): string {
  if (row.closed_at === null) {
    if (row.cancel_requested_by !== null) return `being cancelled by ${row.cancel_requested_by}`;
    if (row.status === 'queued') return row.stop_message ?? '';
    if (row.status === 'paused') return `paused by ${row.paused_by ?? ''}`;
    return row.status === 'budget_exceeded' ? 'budget' : '';
  }
  if (row.status === 'cancelled' && row.cancel_requested_by !== null) return `cancelled by ${row.cancel_requested_by}`;
  return row.stop_reason ?? '';
}
