import type { Selectable, Transaction } from 'kysely';
import type { AgentDefinition } from '#domain/agent.ts';
import { StewardError } from '#domain/errors.ts';
import { narrowLimits, type RunLimits, type Waits } from '#domain/run.ts';
import type { ToolDescriptor } from '#domain/tools.ts';
import type { AgentsTable, Database } from '#platform/database/tables.ts';
import type { Asked } from './request.ts';

/** What a run is given: the agent's own, narrowed by the request. */
export interface Given {
  readonly agent: string;
  readonly agentHash: string;
  readonly model: string;
  readonly maxOutputTokens: number;
  /** Tool names by catalog. */
  readonly tools: Readonly<Record<string, readonly string[]>>;
  readonly permissions: readonly string[];
  readonly resources: readonly string[];
  readonly limits: RunLimits;
  readonly waits: Waits;
  readonly budgetMicroUsd: number;
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

/** What the request leaves of the agent. Throws INVALID_REQUEST where it asks for more than there is. */
export function narrow(row: AgentRow, asked: Asked): Given {
  const definition = row.definition as unknown as AgentDefinition;
  const kept = asked.tools.length === 0 ? null : new Set(asked.tools);
  const known = row.tools.map((tool) => tool.name);
  const unknown = asked.tools.filter((tool) => !known.includes(tool));
  if (unknown.length > 0) {
    throw new StewardError(
      'INVALID_REQUEST',
      `narrowing.tools names ${unknown.join(', ')}, which agent ${row.name} does not have. It has: ${known.join(', ')}.`,
      { details: { field: 'narrowing.tools' } },
    );
  }
  if (asked.budgetMicroUsd > definition.budgetMicroUsd) {
    throw new StewardError(
      'INVALID_REQUEST',
      `narrowing.budget_micro_usd is ${asked.budgetMicroUsd}, above the agent's ${definition.budgetMicroUsd}. ` +
        'A request can only lower it; RaiseBudget raises that of a run.',
      { details: { field: 'narrowing.budget_micro_usd' } },
    );
  }
  const tools = row.tools.filter((tool) => kept === null || kept.has(tool.name));
  return {
    agent: row.name,
    agentHash: row.hash,
    model: definition.model,
    maxOutputTokens: definition.maxOutputTokens,
    tools: byCatalog(tools),
    permissions: [...new Set(tools.flatMap((tool) => tool.permissions))].toSorted(),
    resources: asked.resources,
    limits: narrowLimits(definition.limits, asked.limits),
    waits: definition.waits,
    budgetMicroUsd: asked.budgetMicroUsd || definition.budgetMicroUsd,
  };
}

function byCatalog(tools: readonly ToolDescriptor[]): Record<string, string[]> {
  const names: Record<string, string[]> = {};
  for (const tool of tools) names[tool.catalog] = [...(names[tool.catalog] ?? []), tool.name];
  return names;
}
