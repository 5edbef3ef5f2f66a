import { durationMs } from '@bufbuild/protobuf/wkt';
import type { JsonValue } from '#domain/json.ts';
import type { RunLimits } from '#domain/run.ts';
import type { Limits, StartRunRequest } from '#gen/steward/run/v1/run_service_pb.ts';
import { canonicalJson, digestOf } from '#platform/identity/canonical-json.ts';
import { Checks } from '../checks.ts';

const MOST_TOOLS = 200;
const MOST_RESOURCES = 100;
const MOST_LABELS = 20;

/** A start request that is in order, without saying yet whether the agent allows it. */
export interface Asked {
  readonly requestId: string;
  readonly agent: string;
  /** Null: the current version. */
  readonly agentHash: string | null;
  readonly input: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Empty: all of the agent's. */
  readonly tools: readonly string[];
  /** Zero: the agent's. */
  readonly budgetMicroUsd: number;
  readonly resources: readonly string[];
  /** Zero: the agent's. */
  readonly limits: RunLimits;
  readonly actingUser: string;
  /** The run whose conversation it goes on with; null: a conversation of its own. */
  readonly continues: string | null;
  /** SHA-256 of all of the above but the request id: a repeat has the same. */
  readonly digest: string;
}

/** Reads a request. Throws INVALID_REQUEST with everything that is wrong. */
export function readStart(request: StartRunRequest, actingUser: string): Asked {
  const checks = new Checks();
  checks.line('request_id', request.requestId, { min: 1, max: 100 });
  checks.that(/^[a-z0-9][a-z0-9-]{0,62}$/.test(request.agent), 'agent', 'must be the name of an agent');
  checks.that(/^([0-9a-f]{64})?$/.test(request.agentHash), 'agent_hash', 'must be 64 hex digits, or empty');
  checks.text('input', request.input, { min: 1, max: 100_000 });
  readLabels(checks, request.labels);
  const narrowing = request.narrowing;
  const tools = narrowing?.tools ?? [];
  checks.that(tools.length <= MOST_TOOLS, 'narrowing.tools', `must be at most ${MOST_TOOLS}`);
  const budget = narrowing?.budgetMicroUsd ?? 0n;
  const budgetFits = budget >= 0n && budget <= 1_000_000_000_000n;
  checks.that(budgetFits, 'narrowing.budget_micro_usd', "must be 0 (the agent's own) or an amount in micro-USD");
  const resources = narrowing?.resources ?? [];
  checks.that(resources.length <= MOST_RESOURCES, 'narrowing.resources', `must be at most ${MOST_RESOURCES}`);
  for (const [index, resource] of resources.entries()) {
    const fits = resource.length <= 200 && /^[a-z_]{1,50}\/[^\p{Cc}\s]+$/u.test(resource);
    checks.that(
      fits,
      `narrowing.resources[${index}]`,
      'must be kind/id, such as project/apollo, of at most 200 characters',
    );
  }
  const limits = readLimits(checks, narrowing?.limits);
  if (request.continues !== '') checks.runId(request.continues, 'continues');
  checks.done();
  const body = {
    agent: request.agent,
    agentHash: request.agentHash === '' ? null : request.agentHash,
    input: request.input,
    labels: request.labels,
    tools: [...new Set(tools)],
    budgetMicroUsd: Number(budget),
    resources: [...new Set(resources)],
    limits,
    actingUser,
    // Absent where there is none, so that request ids of earlier releases keep their digest.
    ...(request.continues === '' ? {} : { continues: request.continues }),
  };
  const digest = digestOf(canonicalJson(body as unknown as JsonValue));
  return { ...body, continues: body.continues ?? null, requestId: request.requestId, digest };
}

function readLabels(checks: Checks, labels: Readonly<Record<string, string>>): void {
  const entries = Object.entries(labels);
  checks.that(entries.length <= MOST_LABELS, 'labels', `must be at most ${MOST_LABELS}`);
  for (const [key, value] of entries.slice(0, MOST_LABELS)) {
    const named = /^[a-z0-9_.-]{1,50}$/.test(key) && key !== '__proto__';
    checks.that(named, 'labels', 'must have keys of 1 to 50 lower-case letters, digits, _ . -');
    checks.text(`labels[${JSON.stringify(key.slice(0, 50))}]`, value, { max: 200 });
  }
}

function readLimits(checks: Checks, limits: Limits | undefined): RunLimits {
  const activeMs = limits?.activeTime === undefined ? 0 : durationMs(limits.activeTime);
  const asked = {
    modelCalls: limits?.modelCalls ?? 0,
    toolCalls: limits?.toolCalls ?? 0,
    toolCallsPerTurn: limits?.toolCallsPerTurn ?? 0,
    tokens: Number(limits?.tokens ?? 0n),
    activeMs: Math.floor(activeMs),
  };
  for (const [field, value] of [
    ['model_calls', asked.modelCalls],
    ['tool_calls', asked.toolCalls],
    ['tool_calls_per_turn', asked.toolCallsPerTurn],
    ['tokens', asked.tokens],
    ['active_time', asked.activeMs],
  ] as const) {
    const fits = Number.isSafeInteger(value) && value >= 0;
    checks.that(fits, `narrowing.limits.${field}`, "must be 0 (the agent's own) or more");
  }
  const some = limits?.activeTime === undefined || activeMs === 0 || activeMs >= 1_000;
  checks.that(some, 'narrowing.limits.active_time', 'must be at least 1 s');
  return asked;
}
