import type { Transaction } from 'kysely';
import { StewardError } from '#domain/errors.ts';
import type { ToolDescriptor } from '#domain/tools.ts';
import type { Database } from '#platform/database/tables.ts';
import type { VerifiedRunGrant } from '#platform/identity/grants.ts';
import { LruCache } from '#platform/identity/lru-cache.ts';
import type { RunRow } from './runs.ts';

/** The tools of one run by name: as its agent version pinned them, and no more than the run was given. */
export type PinnedTools = ReadonlyMap<string, ToolDescriptor>;

/** Finds the tools a run may use. */
export interface Pins {
  toolsOf(trx: Transaction<Database>, grant: VerifiedRunGrant, run: RunRow): Promise<PinnedTools>;
}

const KEPT = 200;

/** Keeps the descriptors of the agent versions used last: a version never changes. */
export function createPins(): Pins {
  const versions = new LruCache<string, readonly ToolDescriptor[]>(KEPT);

  async function pinned(trx: Transaction<Database>, run: RunRow): Promise<readonly ToolDescriptor[]> {
    const name = JSON.stringify([run.tenant, run.agent, run.agent_hash]);
    const known = versions.get(name);
    if (known) return known;
    const row = await trx
      .selectFrom('agents')
      .select('tools')
      .where('name', '=', run.agent)
      .where('hash', '=', run.agent_hash)
      .executeTakeFirst();
    if (!row) throw new StewardError('INTERNAL', `Agent ${run.agent} has no version ${run.agent_hash} in this tenant.`);
    versions.set(name, row.tools);
    return row.tools;
  }

  return {
    async toolsOf(trx, grant, run) {
      // Both say what the run was given; the grant cannot be edited, the row could be.
      const given = (tool: ToolDescriptor): boolean =>
        has(run.tools, tool.catalog, tool.name) && has(grant.tools, tool.catalog, tool.name);
      const tools = (await pinned(trx, run)).filter(given);
      return new Map(tools.map((tool) => [tool.name, tool]));
    },
  };
}

function has(tools: Readonly<Record<string, readonly string[]>>, catalog: string, name: string): boolean {
  return Object.hasOwn(tools, catalog) && (tools[catalog] ?? []).includes(name);
}
