import { type Attributes, SpanKind, type SpanStatus, SpanStatusCode, TraceFlags } from '@opentelemetry/api';
import type { Resource } from '@opentelemetry/resources';
import type { ReadableSpan } from '@opentelemetry/sdk-trace-base';
import { A } from './names.ts';
import type { RunFacts, TracedApproval, TracedAttempt, TracedCall, TracedRun } from './run-facts.ts';
import { readTraceParent, spanIdOf, type Traced, traceIdOf } from './trace.ts';

interface Part {
  readonly what: Traced;
  /** Null: the run's own parent. */
  readonly under: Traced | null;
  readonly name: string;
  readonly kind?: SpanKind;
  readonly from: Date;
  readonly to: Date;
  readonly error: string | null;
  readonly attributes: Attributes;
}

/**
 * The spans of what is recorded: a turn under the run, model calls, tool calls and approval waits under their turn, and
 * the run's own once it has closed. The same facts give the same spans, ids and times included.
 */
export function spansOf(facts: RunFacts, resource: Resource): ReadableSpan[] {
  const { run, attempts, calls, approvals } = facts;
  const closed = run.closedAt ?? undefined;
  const leaves = [
    ...attempts.map((attempt) => modelCall(run, attempt, attempts)),
    ...calls.map((call) => toolCall(call, closed)),
    ...approvals.map((approval) => approvalWait(approval, closed)),
  ];
  const turns = [...Map.groupBy(leaves, (leaf) => leaf.turn)].map(([turn, parts]) => turnOf(run, turn, parts));
  const parts: Part[] = [...(closed === undefined ? [] : [whole(run, closed)]), ...turns, ...leaves];
  return parts.map((part) => toSpan(run, part, resource));
}

type Leaf = Part & { readonly turn: number };

function whole(run: TracedRun, closedAt: Date): Part {
  return {
    what: 'run',
    under: null,
    name: `invoke_agent ${run.agent}`,
    from: run.createdAt,
    to: closedAt,
    error: run.status === 'completed' || run.status === 'cancelled' ? null : (run.stopReason ?? run.status),
    attributes: {
      [A.operation]: 'invoke_agent',
      [A.agentName]: run.agent,
      [A.agentVersion]: run.agentHash.slice(0, 12),
      [A.conversation]: run.id,
      [A.requestModel]: run.model,
      [A.inputTokens]: run.inputTokens + run.cacheReadTokens + run.cacheWriteTokens,
      [A.outputTokens]: run.outputTokens,
      [A.cacheReadTokens]: run.cacheReadTokens,
      [A.cacheWriteTokens]: run.cacheWriteTokens,
      [A.status]: run.status,
      ...optional(A.stopReason, run.stopReason),
      [A.turns]: run.turns,
      [A.toolCalls]: run.toolCalls,
      [A.cost]: run.costMicroUsd,
    },
  };
}

function turnOf(run: TracedRun, turn: number, parts: readonly Leaf[]): Part {
  const at = (pick: (part: Leaf) => Date): number[] => parts.map((part) => pick(part).getTime());
  return {
    what: `turn/${turn}`,
    under: 'run',
    name: `turn ${turn}`,
    from: new Date(Math.min(...at((part) => part.from))),
    to: new Date(Math.max(...at((part) => part.to))),
    error: null,
    attributes: { [A.turn]: turn, [A.agentName]: run.agent },
  };
}

/** A call that nobody saw end counts until the next one began, or the run closed. */
function modelCall(run: TracedRun, attempt: TracedAttempt, all: readonly TracedAttempt[]): Leaf {
  const { usage } = attempt;
  const isNext = (other: TracedAttempt): boolean =>
    other.turn === attempt.turn && other.purpose === attempt.purpose && other.number === attempt.number + 1;
  const next = all.find(isNext)?.startedAt;
  const error = attempt.answeredBy === null ? (attempt.errorCode ?? 'unobserved') : null;
  return {
    what: `model/${attempt.id}`,
    under: `turn/${attempt.turn}`,
    turn: attempt.turn,
    name: `chat ${attempt.model}`,
    kind: SpanKind.CLIENT,
    from: attempt.startedAt,
    to: attempt.endedAt ?? next ?? run.closedAt ?? attempt.startedAt,
    error,
    attributes: {
      [A.operation]: 'chat',
      ...optional(A.provider, providerOf(attempt.answeredBy ?? attempt.model)),
      [A.requestModel]: attempt.model,
      ...optional(A.responseModel, attempt.answeredBy),
      ...optional(A.responseId, attempt.requestId),
      ...(usage === null
        ? {}
        : {
            [A.inputTokens]: usage.input + usage.cacheRead + usage.cacheWrite,
            [A.outputTokens]: usage.output,
            [A.cacheReadTokens]: usage.cacheRead,
            [A.cacheWriteTokens]: usage.cacheWrite,
            [A.cached]: usage.cacheRead > 0,
          }),
      [A.turn]: attempt.turn,
      [A.attempt]: attempt.number,
      [A.purpose]: attempt.purpose,
      [A.cost]: attempt.costMicroUsd,
    },
  };
}

/** By the model's name: which service carried it is not recorded. */
function providerOf(model: string): string | null {
  if (model.startsWith('claude')) return 'anthropic';
  return /^(gpt|o\d)/.test(model) ? 'openai' : null;
}

const FAILED: ReadonlySet<string> = new Set(['denied', 'refused', 'failed', 'outcome_unknown']);

/** From when it was begun, the wait for people apart; one that never began, from its verdict. */
function toolCall(call: TracedCall, closed: Date | undefined): Leaf {
  const error = FAILED.has(call.state) ? (call.errorCode ?? call.verdictCode ?? call.state) : null;
  return {
    what: `call/${call.id}`,
    under: `turn/${call.turn}`,
    turn: call.turn,
    name: `execute_tool ${call.tool}`,
    from: call.startedAt ?? call.judgedAt,
    to: call.endedAt ?? closed ?? call.startedAt ?? call.judgedAt,
    error,
    attributes: {
      [A.operation]: 'execute_tool',
      [A.toolName]: call.tool,
      [A.toolType]: 'function',
      [A.toolCallId]: call.id,
      [A.turn]: call.turn,
      ...optional(A.catalog, call.catalog),
      [A.verdict]: call.verdict,
      ...optional(A.verdictCode, call.verdictCode),
      [A.state]: call.state,
      [A.attempts]: call.attempts,
      [A.effect]: call.hasEffect,
    },
  };
}

function approvalWait(approval: TracedApproval, closed: Date | undefined): Leaf {
  return {
    what: `approval/${approval.id}`,
    under: `turn/${approval.turn}`,
    turn: approval.turn,
    name: `approval ${approval.tool}`,
    from: approval.askedAt,
    to: approval.decidedAt ?? earlier(approval.expiresAt, closed),
    error: null,
    attributes: {
      [A.approval]: approval.id,
      [A.toolName]: approval.tool,
      [A.toolCallId]: approval.call,
      [A.turn]: approval.turn,
      [A.tier]: approval.tier,
      [A.outcome]: approval.outcome,
      ...optional(A.decidedBy, approval.decidedBy),
      ...optional(A.via, approval.via),
    },
  };
}

function earlier(one: Date, other: Date | undefined): Date {
  return other !== undefined && other < one ? other : one;
}

function optional(name: string, value: string | null): Attributes {
  return value === null ? {} : { [name]: value };
}

const SCOPE = { name: 'steward', version: '1' };

function toSpan(run: TracedRun, part: Part, resource: Resource): ReadableSpan {
  const caller = readTraceParent(run.traceParent);
  const traceId = caller?.trace ?? traceIdOf(run.id);
  const contextOf = (spanId: string) => ({ traceId, spanId, traceFlags: TraceFlags.SAMPLED });
  const parent = part.under === null ? caller?.span : spanIdOf(run.id, part.under);
  const own = contextOf(spanIdOf(run.id, part.what));
  // Clocks of several machines: a span never ends before it begins.
  const to = Math.max(part.to.getTime(), part.from.getTime());
  const status: SpanStatus = part.error === null ? { code: SpanStatusCode.UNSET } : { code: SpanStatusCode.ERROR };
  return {
    name: part.name,
    kind: part.kind ?? SpanKind.INTERNAL,
    spanContext: () => own,
    ...(parent === undefined ? {} : { parentSpanContext: contextOf(parent) }),
    startTime: hr(part.from.getTime()),
    endTime: hr(to),
    duration: hr(to - part.from.getTime()),
    status,
    attributes: {
      [A.run]: run.id,
      [A.tenant]: run.tenant,
      ...part.attributes,
      ...optional(A.errorType, part.error),
    },
    links: [],
    events: [],
    ended: true,
    resource,
    instrumentationScope: SCOPE,
    droppedAttributesCount: 0,
    droppedEventsCount: 0,
    droppedLinksCount: 0,
  };
}

function hr(ms: number): [number, number] {
  return [Math.floor(ms / 1_000), Math.round(ms % 1_000) * 1_000_000];
}
