import type { MessageInitShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import type { Selectable } from 'kysely';
import type { AgentDefinition } from '#domain/agent.ts';
import type { AgentVersionSchema } from '#gen/steward/admin/v1/admin_service_pb.ts';
import type { AgentsTable } from '#platform/database/tables.ts';

/** What a view needs of an agent's row. */
export type AgentRow = Omit<Selectable<AgentsTable>, 'tools' | 'tenant' | 'yaml'> & { readonly yaml?: string };

/** A version as the world sees it; with its text where the row was read with it. */
export function toAgent(row: AgentRow): MessageInitShape<typeof AgentVersionSchema> {
  const definition = row.definition as unknown as AgentDefinition;
  return {
    name: row.name,
    hash: row.hash,
    description: definition.description,
    model: definition.model,
    fallback: definition.fallback ?? '',
    tools: Object.values(definition.tools).flat(),
    appliedAt: timestampFromDate(row.applied_at),
    appliedBy: row.applied_by,
    yaml: row.yaml ?? '',
    current: row.is_current,
  };
}
