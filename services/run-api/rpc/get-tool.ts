import { type MessageInitShape, toJson } from '@bufbuild/protobuf';
import { type SqlBool, sql, type Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import type { GetToolRequest, GetToolResponseSchema } from '#gen/steward/admin/v1/admin_service_pb.ts';
import { ToolDescriptorSchema } from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import type { Database } from '#platform/database/tables.ts';
import { withTenant } from '#platform/database/tenant.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { HostedTool } from '../catalogs.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { toToolSummary } from '../views/tool.ts';
import { askAll } from './list-tools.ts';

const MOST_AGENTS = 100;
const LONGEST_DESCRIPTION = 4_000;

/** One tool whole, and which of the tenant's agents use it. */
export async function getTool(
  ctx: CallContext,
  deps: RunApiDeps,
  request: GetToolRequest,
): Promise<MessageInitShape<typeof GetToolResponseSchema>> {
  const checks = new Checks();
  checks.line('name', request.name, { min: 1, max: 100 });
  checks.line('catalog', request.catalog, { max: 100 });
  checks.done();
  const found = await find(ctx, deps, request);
  return {
    tool: toToolSummary(found, LONGEST_DESCRIPTION),
    definitionJson: JSON.stringify(toJson(ToolDescriptorSchema, found.described, { alwaysEmitImplicit: true })),
    agents: await withTenant(deps.db, ctx.principal.tenant, (trx) => usersOf(trx, found)),
  };
}

async function find(ctx: CallContext, deps: RunApiDeps, { catalog, name }: GetToolRequest): Promise<HostedTool> {
  const names = catalog === '' ? deps.catalogs.names.toSorted() : [catalog];
  const { tools, unreachable } = await askAll(deps.catalogs, names, ctx.signal);
  const [first, ...others] = tools.filter((tool) => tool.described.name === name);
  if (first !== undefined && others.length > 0) {
    const hosts = [first, ...others].map((tool) => tool.catalog).join(', ');
    throw new StewardError('INVALID_REQUEST', `Several catalogs host a tool ${name}: ${hosts}. Name one as catalog.`, {
      details: { field: 'catalog', catalogs: hosts },
    });
  }
  if (first !== undefined) return first;
  const [away] = unreachable;
  if (away !== undefined) {
    throw new StewardError('CATALOG_UNAVAILABLE', `Whether there is a tool ${name} is not known: ${away.message}`, {
      details: { catalog: away.catalog },
    });
  }
  throw new StewardError('TOOL_UNKNOWN', `No tool ${name} is hosted by ${names.join(', ') || 'any catalog'}.`, {
    details: { catalog: names.join(', '), missing: [name] },
  });
}

/** The tenant's current agents that use the tool, and whether they pin it as it is now. */
async function usersOf(trx: Transaction<Database>, { catalog, described }: HostedTool) {
  const pinned = sql<string>`(select t ->> 'hash' from jsonb_array_elements(agents.tools) t
    where t ->> 'catalog' = ${catalog} and t ->> 'name' = ${described.name} limit 1)`;
  const rows = await trx
    .selectFrom('agents')
    .select(['name', pinned.as('hash')])
    .where('is_current', '=', true)
    .where(sql<SqlBool>`${pinned} is not null`)
    .orderBy('name')
    .limit(MOST_AGENTS)
    .execute();
  return rows.map((row) => ({ agent: row.name, outdated: row.hash !== described.hash }));
}
