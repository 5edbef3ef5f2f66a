import proto from '@temporalio/proto';
import type { Temporal } from '#platform/temporal/client.ts';

/** What a workflow's history holds, over all its executions. */
export interface HistorySize {
  /** Of the chain: one, and one more for every continue-as-new. */
  readonly executions: number;
  /** As Temporal counts them. */
  readonly bytes: number;
  readonly events: number;
  /** From the first event to the last, in milliseconds of Temporal's clock. */
  readonly ms: number;
  readonly byType: readonly EventShare[];
}

/** What events of one type come to. */
export interface EventShare {
  readonly type: string;
  readonly count: number;
  readonly bytes: number;
}

const CALL_MS = 30_000;
/** Executions of one chain. */
const LONGEST_CHAIN = 100;

/** Sums a workflow's history up, from its first execution to the one it continued as last. */
export async function historyOf(temporal: Temporal, workflowId: string): Promise<HistorySize> {
  const shares = new Map<string, { count: number; bytes: number }>();
  const times: number[] = [];
  let bytes = 0;
  let events = 0;
  const last = await describe(temporal, workflowId, undefined);
  let runId: string | undefined = last.firstRunId || last.execution?.runId || undefined;
  let executions = 0;
  for (; runId !== undefined && executions < LONGEST_CHAIN; executions += 1) {
    const here: string = runId;
    const info = await describe(temporal, workflowId, here);
    bytes += Number(info.historySizeBytes ?? 0);
    events += Number(info.historyLength ?? 0);
    const history = await temporal.within(new Date(Date.now() + CALL_MS), () =>
      temporal.client.workflow.getHandle(workflowId, here).fetchHistory(),
    );
    runId = undefined;
    for (const event of history.events ?? []) {
      const type = nameOf(event);
      const share = shares.get(type) ?? { count: 0, bytes: 0 };
      share.count += 1;
      share.bytes += proto.temporal.api.history.v1.HistoryEvent.encode(event).finish().length;
      shares.set(type, share);
      times.push(Number(event.eventTime?.seconds ?? 0) * 1_000 + (event.eventTime?.nanos ?? 0) / 1e6);
      runId = event.workflowExecutionContinuedAsNewEventAttributes?.newExecutionRunId ?? runId;
    }
  }
  return {
    executions,
    bytes,
    events,
    ms: (times.at(-1) ?? 0) - (times[0] ?? 0),
    byType: [...shares].map(([type, share]) => ({ type, ...share })).sort((a, b) => b.bytes - a.bytes),
  };
}

async function describe(temporal: Temporal, workflowId: string, runId: string | undefined) {
  const description = await temporal.within(new Date(Date.now() + CALL_MS), () =>
    temporal.client.workflow.getHandle(workflowId, runId).describe(),
  );
  return description.raw.workflowExecutionInfo ?? {};
}

function nameOf(event: proto.temporal.api.history.v1.IHistoryEvent): string {
  const name = proto.temporal.api.enums.v1.EventType[event.eventType ?? 0] ?? 'unknown';
  return name.replace(/^EVENT_TYPE_/, '').toLowerCase();
}

/** What the server says it stores runs in, and its version. */
export async function storeOf(temporal: Temporal): Promise<{ readonly store: string; readonly server: string }> {
  const info = await temporal.within(new Date(Date.now() + CALL_MS), () =>
    temporal.client.workflowService.getClusterInfo({}),
  );
  return { store: info.persistenceStore || 'unknown', server: info.serverVersion || 'unknown' };
}
