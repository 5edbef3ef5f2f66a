import { isMap, isPair, isScalar, LineCounter, parseDocument } from 'yaml';
import { z } from 'zod';
import type { AgentDefinition } from '#domain/agent.ts';
import type { AnomalyLimits } from '#domain/anomaly.ts';
import { StewardError } from '#domain/errors.ts';
import type { JsonValue } from '#domain/json.ts';
import { DEFAULT_LIMITS, DEFAULT_RUN_BUDGET_MICRO_USD, DEFAULT_WAITS } from '#domain/run.ts';
import { canonicalJson, digestOf } from '#platform/identity/canonical-json.ts';
import { formatDuration, parseDuration, parseMicroUsd } from './amounts.ts';

/** What must be known of the models an agent may name. */
export interface KnownModel {
  readonly id: string;
  /** Whose it is. An agent's fallback must be another's than its model. */
  readonly provider: string;
  /** The most output tokens one call may ask for. */
  readonly maxOutput: number;
  /** Tokens of prompt and answer together. */
  readonly contextWindow: number;
}

/** Longest definition, in bytes of its YAML. */
export const MAX_AGENT_BYTES = 262_144;
/** Tools of one agent over all catalogs. */
export const MAX_AGENT_TOOLS = 200;

const DAY = 86_400_000;
const MOST_BUDGET = 10_000_000_000;
const DEFAULT_OUTPUT_TOKENS = 4_096;
const MOST_FAULTS = 30;

const text = (min: number, max: number) =>
  z
    .string(`must be text of at most ${max} characters`)
    .min(min, `must be text of ${min} to ${max} characters`)
    .max(max, `must be text of at most ${max} characters`)
    .refine((value) => !value.includes('\0') && value.isWellFormed(), 'must be text without NUL characters');

const whole = (min: number, max: number) => {
  const say = `must be a whole number from ${min} to ${max}`;
  return z.int(say).min(min, say).max(max, say);
};

const duration = (min: number, max: number) => {
  const say = `must be a duration from ${formatDuration(min)} to ${formatDuration(max)}, such as 90s, 30m, 12h, 7d`;
  return z.string(say).transform((value, context) => {
    const ms = parseDuration(value);
    if (ms !== null && ms >= min && ms <= max) return ms;
    context.addIssue({ code: 'custom', message: say });
    return z.NEVER;
  });
};

const budget = z
  .string('must be an amount in US dollars with its sign, such as $0.50')
  .transform((value, context): number => {
    const micro = parseMicroUsd(value);
    if (micro !== null && micro > 0 && micro <= MOST_BUDGET) return micro;
    const message = 'must be an amount from $0.000001 to $10000, with at most six decimals, such as $0.50';
    context.addIssue({ code: 'custom', message });
    return z.NEVER;
  });

const CATALOG = /^[a-z][a-z0-9-]{0,62}$/;
const TOOL = /^[a-z][a-z0-9_]{0,63}$/;
const toolName = z
  .string('must be the name of a tool')
  .regex(TOOL, 'must be the name of a tool: lower-case letters, digits and _');

const limits = z.strictObject({
  model_calls: whole(1, 10_000).optional(),
  tool_calls: whole(0, 10_000).optional(),
  tool_calls_per_turn: whole(1, 100).optional(),
  tokens: whole(1, 1_000_000_000).optional(),
  active_time: duration(1_000, 30 * DAY).optional(),
});

const waits = z.strictObject({
  approval: duration(1_000, 30 * DAY).optional(),
  budget: duration(1_000, 30 * DAY).optional(),
  pause: duration(1_000, 30 * DAY).optional(),
});

const factor = z.number('must be a number from 0 to 1000; 0 switches the rule off').min(0).max(1_000);

const anomalies = z.strictObject({
  calls: factor.optional(),
  cost: factor.optional(),
  destructive: factor.optional(),
  unauthorised: whole(0, 1_000).optional(),
  approvals_per_hour: whole(0, 10_000).optional(),
});

const context = z.strictObject({ max_tokens: whole(1_000, 10_000_000).optional() });

const shape = z.strictObject(
  {
    name: z
      .string('must be a name')
      .regex(/^[a-z0-9][a-z0-9-]{0,62}$/, 'must be 1 to 63 lower-case letters, digits and dashes, no dash first'),
    description: text(0, 500).default(''),
    instructions: text(1, 50_000),
    model: z.string('must be the exact id of a model').min(1, 'must be the exact id of a model'),
    fallback: z.string('must be the exact id of a model').min(1, 'must be the exact id of a model').optional(),
    max_output_tokens: whole(1, 1_000_000).optional(),
    context: context.default({}),
    tools: z
      .record(
        z.string().regex(CATALOG, 'must be the name of a catalog: lower-case letters, digits and dashes'),
        z.array(toolName, 'must be a list of tool names').min(1, 'must name a tool; leave the catalog out otherwise'),
        'must be lists of tool names by catalog, such as `projects: [list_projects]`',
      )
      .default({}),
    limits: limits.default({}),
    budget: budget.default(DEFAULT_RUN_BUDGET_MICRO_USD),
    waits: waits.default({}),
    anomalies: anomalies.optional(),
  },
  'must be a mapping that begins with `name:`',
);

/** One thing that is wrong with a definition. */
interface Fault {
  readonly path: readonly PropertyKey[];
  readonly message: string;
}

/**
 * Reads an agent definition. Throws AGENT_INVALID listing every fault with its path, its line and what to do, or
 * MODEL_UNKNOWN listing the known models where that alone is wrong.
 */
export function parseAgent(yaml: string, options: { readonly knownModels: readonly KnownModel[] }): AgentDefinition {
  if (Buffer.byteLength(yaml) > MAX_AGENT_BYTES) {
    throw new StewardError('AGENT_INVALID', `An agent definition has at most ${MAX_AGENT_BYTES} bytes.`);
  }
  const lines = new LineCounter();
  const document = parseDocument(yaml, { lineCounter: lines, uniqueKeys: true, merge: false, logLevel: 'silent' });
  const broken = document.errors[0] ?? document.warnings[0];
  if (broken !== undefined) throw notYaml(broken.message);
  let value: unknown;
  try {
    // A few aliases are a convenience, many a bomb.
    value = document.toJS({ maxAliasCount: 20 });
  } catch (cause) {
    throw notYaml(cause instanceof Error ? cause.message : String(cause), cause);
  }
  const parsed = shape.safeParse(value);
  const faults = parsed.success
    ? toolFaults(parsed.data.tools)
    : parsed.error.issues.flatMap((issue) => faultsOf(issue, value));
  const { model: id, fallback: otherId } = (value ?? {}) as { model?: unknown; fallback?: unknown };
  const find = (wanted: unknown) => options.knownModels.find((known) => known.id === wanted);
  const [model, fallback] = [find(id), find(otherId)];
  const known = options.knownModels.map((each) => each.id).join(', ');
  const asked = parsed.success ? parsed.data.max_output_tokens : undefined;
  for (const each of [model, fallback]) {
    if (each === undefined || asked === undefined || asked <= each.maxOutput) continue;
    faults.push({
      path: ['max_output_tokens'],
      message: `must be at most ${each.maxOutput}: ${each.id} gives no more`,
    });
  }
  if (typeof otherId === 'string' && otherId !== '' && fallback === undefined) {
    faults.push({ path: ['fallback'], message: `is unknown; use one of: ${known}` });
  }
  if (model !== undefined && fallback?.provider === model.provider) {
    const message = `must be of another provider than ${model.id}: ${model.provider} failing takes both`;
    faults.push({ path: ['fallback'], message });
  }
  const window = parsed.success ? parsed.data.context.max_tokens : undefined;
  if (model !== undefined && window !== undefined) {
    const output = asked ?? Math.min(DEFAULT_OUTPUT_TOKENS, model.maxOutput);
    const narrower = fallback !== undefined && fallback.contextWindow < model.contextWindow ? fallback : model;
    if (window > narrower.contextWindow) {
      const message = `must be at most ${narrower.contextWindow}: ${narrower.id} takes no more`;
      faults.push({ path: ['context', 'max_tokens'], message });
    } else if (window < 2 * output) {
      const message = `must be at least ${2 * output}: an answer may take ${output} of them`;
      faults.push({ path: ['context', 'max_tokens'], message });
    }
  }
  if (faults.length > 0) {
    if (typeof id === 'string' && id !== '' && model === undefined) {
      faults.push({ path: ['model'], message: `is unknown; use one of: ${known}` });
    }
    throw invalid(faults, (path) => lineOf(document.contents, path, lines));
  }
  if (!parsed.success || model === undefined) {
    throw new StewardError('MODEL_UNKNOWN', `Model "${String(id)}" is not known. Use one of: ${known}.`, {
      details: { model: String(id) },
    });
  }
  return toDefinition(parsed.data, model);
}

function toDefinition(data: z.output<typeof shape>, model: KnownModel): AgentDefinition {
  return {
    name: data.name,
    description: data.description,
    instructions: data.instructions,
    model: data.model,
    ...(data.fallback === undefined ? {} : { fallback: data.fallback }),
    maxOutputTokens: data.max_output_tokens ?? Math.min(DEFAULT_OUTPUT_TOKENS, model.maxOutput),
    ...(data.context.max_tokens === undefined ? {} : { contextTokens: data.context.max_tokens }),
    tools: data.tools,
    limits: {
      modelCalls: data.limits.model_calls ?? DEFAULT_LIMITS.modelCalls,
      toolCalls: data.limits.tool_calls ?? DEFAULT_LIMITS.toolCalls,
      toolCallsPerTurn: data.limits.tool_calls_per_turn ?? DEFAULT_LIMITS.toolCallsPerTurn,
      tokens: data.limits.tokens ?? DEFAULT_LIMITS.tokens,
      activeMs: data.limits.active_time ?? DEFAULT_LIMITS.activeMs,
    },
    budgetMicroUsd: data.budget,
    waits: {
      approvalMs: data.waits.approval ?? DEFAULT_WAITS.approvalMs,
      budgetMs: data.waits.budget ?? DEFAULT_WAITS.budgetMs,
      pauseMs: data.waits.pause ?? DEFAULT_WAITS.pauseMs,
    },
    ...(data.anomalies === undefined ? {} : { anomalies: anomalyLimits(data.anomalies) }),
  };
}

function anomalyLimits(data: z.output<typeof anomalies>): Partial<AnomalyLimits> {
  const { approvals_per_hour: approvalsPerHour, ...rest } = data;
  const given = Object.entries({ ...rest, approvalsPerHour }).filter(([, value]) => value !== undefined);
  return Object.fromEntries(given);
}

/**
 * The content hash of an agent version: lower-case hex SHA-256 of the definition and the hashes of its pinned tools, by
 * name.
 */
export function agentHash(definition: AgentDefinition, toolHashes: Readonly<Record<string, string>>): string {
  return digestOf(canonicalJson({ definition, toolHashes } as unknown as JsonValue));
}

function toolFaults(tools: Readonly<Record<string, readonly string[]>>): Fault[] {
  const faults: Fault[] = [];
  const seen = new Map<string, string>();
  for (const [catalog, names] of Object.entries(tools)) {
    for (const [index, name] of names.entries()) {
      const first = seen.get(name);
      if (first !== undefined) {
        const message = `names ${name} once more (it stands under ${first}); a model knows tools by name alone, keep one`;
        faults.push({ path: ['tools', catalog, index], message });
      }
      seen.set(name, catalog);
    }
  }
  if (seen.size > MAX_AGENT_TOOLS) {
    faults.push({ path: ['tools'], message: `has ${seen.size} tools; at most ${MAX_AGENT_TOOLS} are taken` });
  }
  return faults;
}

const KEYS: Readonly<Record<string, readonly string[]>> = {
  '': Object.keys(shape.shape),
  limits: Object.keys(limits.shape),
  context: Object.keys(context.shape),
  waits: Object.keys(waits.shape),
  anomalies: Object.keys(anomalies.shape),
};

function faultsOf(issue: z.core.$ZodIssue, root: unknown): Fault[] {
  if (issue.code === 'unrecognized_keys') {
    const known = KEYS[issue.path.join('.')] ?? [];
    return issue.keys.map((key) => ({
      path: [...issue.path, key],
      message: `is no key of a definition; known here: ${known.join(', ')}`,
    }));
  }
  if (issue.code === 'invalid_key') return [{ path: issue.path, message: issue.issues[0]?.message ?? issue.message }];
  const missing = valueAt(root, issue.path) === undefined;
  return [{ path: issue.path, message: missing ? `is missing; it ${issue.message}` : issue.message }];
}

function valueAt(root: unknown, path: readonly PropertyKey[]): unknown {
  let at = root;
  for (const key of path) {
    if (typeof at !== 'object' || at === null || !Object.hasOwn(at, key)) return undefined;
    at = (at as Record<PropertyKey, unknown>)[key];
  }
  return at;
}

function invalid(faults: readonly Fault[], line: (path: readonly PropertyKey[]) => number | null): StewardError {
  const said = faults.slice(0, MOST_FAULTS).map((fault) => {
    const at = line(fault.path);
    const path = fault.path.map(String).join('.') || 'the definition';
    return `${path}${at === null ? '' : ` (line ${at})`}: ${fault.message}`;
  });
  const count = faults.length === 1 ? 'one fault' : `${faults.length} faults`;
  return new StewardError('AGENT_INVALID', `The agent definition has ${count}:\n${said.join('\n')}`, {
    details: { faults: said.slice(0, 5) },
  });
}

function notYaml(why: string, cause?: unknown): StewardError {
  const line = why.split('\n')[0]?.trim() ?? '';
  return new StewardError('AGENT_INVALID', `The agent definition cannot be read as YAML: ${line}`, { cause });
}

/** The line on which the deepest part of a path that is there begins; null where nothing of it is. */
function lineOf(contents: unknown, path: readonly PropertyKey[], lines: LineCounter): number | null {
  let at: unknown = contents;
  let offset: number | undefined;
  for (const key of path) {
    if (!isMap(at)) break;
    const pair = at.items.find((item) => isPair(item) && isScalar(item.key) && item.key.value === key);
    if (pair === undefined) break;
    offset = (pair.key as { range?: [number, number, number] | null }).range?.[0];
    at = pair.value;
  }
  return offset === undefined ? null : lines.linePos(offset).line;
}
