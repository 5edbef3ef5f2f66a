import type { Selectable, Transaction } from 'kysely';
import type { AgentDefinition } from '#domain/agent.ts';
import type { AnomalyLimits } from '#domain/anomaly.ts';
import { StewardError } from '#domain/errors.ts';
import { lowerLimits, narrowLimits, type RunLimits, type Waits } from '#domain/run.ts';
import type { ToolDescriptor } from '#domain/tools.ts';
import type { KnownModel } from '#platform/config/agent-definition.ts';
import type { AgentsTable, Database } from '#platform/database/tables.ts';
import type { Continued } from './continued.ts';
import type { Asked } from './request.ts';

/** What a run is given: the agent's own, narrowed by the request. */
export interface Given {
  readonly agent: string;
  readonly agentHash: string;
  readonly model: string;
  readonly maxOutputTokens: number;
  /** Tokens of prompt and answer together. */
  readonly contextTokens: number;
  /** Tool names by catalog. */
  readonly tools: Readonly<Record<string, readonly string[]>>;
  readonly permissions: readonly string[];
  readonly resources: readonly string[];
  readonly limits: RunLimits;
  readonly waits: Waits;
  readonly anomalies: Partial<AnomalyLimits>;
  readonly budgetMicroUsd: number;
  /** The run it goes on from; null: none. */
  readonly continued: Continued | null;
}

type AgentRow = Selectable<AgentsTable>;

/** The version asked for, or the current one. Throws AGENT_UNKNOWN saying which there are. */
export async function findAgent(trx: Transaction<Database>, name: string, hash: string | null): Promise<AgentRow> {
  let query = trx.selectFrom('agents').selectAll().where('name', '=', name);
  query = hash === null ? query.where('is_current', '=', true) : query.where('hash', '=', hash);
  const row = await query.executeTakeFirst();
  if (row !== undefined) return row;
  const known = await trx
    .selectFrom('agents')
    .select(['name', 'hash'])
    .where('is_current', '=', true)
    .orderBy('name')
    .limit(20)
    .execute();
  const current = known.find((each) => each.name === name);
  const names = known.map((each) => each.name).join(', ') || 'none yet';
  throw new StewardError(
    'AGENT_UNKNOWN',
    current === undefined
      ? `There is no agent ${name} in this tenant. Apply it first; there are: ${names}.`
      : `Agent ${name} has no version ${hash}. Its current one is ${current.hash}.`,
    { details: { agent: name } },
  );
}

/**
 * What the request leaves of the agent, within what the run it continues was given. Throws INVALID_REQUEST where it asks
 * for more than there is.
 */
export function narrow(row: AgentRow, asked: Asked, continued: Continued | null, models: readonly KnownModel[]): Given {
  const definition = row.definition as unknown as AgentDefinition;
  const kept = asked.tools.length === 0 ? null : new Set(asked.tools);
  const had = row.tools.filter((tool) => continued === null || continued.tools[tool.catalog]?.includes(tool.name));
  const known = had.map((tool) => tool.name);
  const unknown = asked.tools.filter((tool) => !known.includes(tool));
  const whose = continued === null ? `agent ${row.name}` : `run ${continued.id}, which it continues,`;
  if (unknown.length > 0) {
    throw new StewardError(
      'INVALID_REQUEST',
      `narrowing.tools names ${unknown.join(', ')}, which ${whose} does not have. It has: ${known.join(', ')}.`,
      { details: { field: 'narrowing.tools' } },
    );
  }
  const most = Math.min(definition.budgetMicroUsd, continued?.budgetMicroUsd ?? Number.POSITIVE_INFINITY);
  if (asked.budgetMicroUsd > most) {
    throw new StewardError(
      'INVALID_REQUEST',
      `narrowing.budget_micro_usd is ${asked.budgetMicroUsd}, above the ${most} of ${whose.replace(/,$/, '')}. ` +
        'A request can only lower it; RaiseBudget raises that of a run.',
      { details: { field: 'narrowing.budget_micro_usd' } },
    );
  }
  const tools = had.filter((tool) => kept === null || kept.has(tool.name));
  const limits = continued === null ? definition.limits : lowerLimits(definition.limits, continued.limits);
  return {
    agent: row.name,
    agentHash: row.hash,
    model: definition.model,
    maxOutputTokens: definition.maxOutputTokens,
    contextTokens: definition.contextTokens ?? windowOf(definition, models),
    tools: byCatalog(tools),
    permissions: [...new Set(tools.flatMap((tool) => tool.permissions))].toSorted(),
    resources: resourcesOf(asked, continued),
    limits: narrowLimits(limits, asked.limits),
    waits: definition.waits,
    anomalies: definition.anomalies ?? {},
    budgetMicroUsd: asked.budgetMicroUsd || most,
    continued,
  };
}

/** Empty: all. A run that continues one of some records touches those, or fewer. */
function resourcesOf(asked: Asked, continued: Continued | null): readonly string[] {
  const had = continued?.resources ?? [];
  if (had.length === 0) return asked.resources;
  const wider = asked.resources.filter((resource) => !had.includes(resource));
  if (wider.length > 0) {
    throw new StewardError(
      'INVALID_REQUEST',
      `narrowing.resources names ${wider.join(', ')}, which run ${continued?.id} may not touch. It may: ${had.join(', ')}.`,
      { details: { field: 'narrowing.resources' } },
    );
  }
  return asked.resources.length === 0 ? had : asked.resources;
}

/** The window that all its models have. Throws MODEL_UNKNOWN for one that was taken out since the agent was applied. */
function windowOf({ model, fallback }: AgentDefinition, models: readonly KnownModel[]): number {
  const windows = [model, ...(fallback === undefined ? [] : [fallback])].map((id) => {
    const known = models.find((one) => one.id === id);
    if (known !== undefined) return known.contextWindow;
    throw new StewardError('MODEL_UNKNOWN', `Model "${id}" is not known any more. Apply the agent with another one.`, {
      details: { model: id },
    });
  });
  return Math.min(...windows);
}

function byCatalog(tools: readonly ToolDescriptor[]): Record<string, string[]> {
  const names: Record<string, string[]> = {};
  for (const tool of tools) names[tool.catalog] = [...(names[tool.catalog] ?? []), tool.name];
  return names;
}
