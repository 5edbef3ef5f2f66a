import { isStewardError, StewardError } from '#domain/errors.ts';
import type { ToolDescriptor } from '#domain/tools.ts';
import { ToolCatalog } from '#gen/steward/catalog/v1/tool_catalog_pb.ts';
import { type Connection, connect } from '#platform/grpc/client.ts';
import { readDescriptor } from './descriptors.ts';

/** What run-api asks catalogs: their tools, when an agent is applied. */
export interface Catalogs {
  readonly names: readonly string[];
  /**
   * The named tools as the catalog describes them now. Throws TOOL_UNKNOWN naming those it lacks; AGENT_INVALID where the
   * catalog is not configured, or with what is wrong with a description; CATALOG_UNAVAILABLE where it does not answer
   * within 5 s; CATALOG_BROKEN where its answer cannot be used.
   */
  describe(catalog: string, tools: readonly string[], signal: AbortSignal): Promise<ToolDescriptor[]>;
  /**
   * Everything the catalog describes now, by name, also what cannot be pinned. Throws NOT_FOUND where the catalog is not
   * configured; CATALOG_UNAVAILABLE and CATALOG_BROKEN as `describe`.
   */
  all(catalog: string, signal: AbortSignal): Promise<HostedTool[]>;
  close(): void;
}

/** One tool as its catalog describes it, and what keeps agents from using it. */
export interface HostedTool {
  readonly catalog: string;
  readonly described: Described[number];
  /** Null where there are faults. */
  readonly tool: ToolDescriptor | null;
  readonly faults: readonly string[];
}

const DESCRIBE_MS = 5_000;
const MOST_TOOLS = 200;
const MOST_FAULTS = 10;

/** Connections to the catalogs at these addresses, made at the first use. `token` gives run-api's own for a catalog, good there alone. */
export function openCatalogs(
  addresses: Readonly<Record<string, string>>,
  token: (catalog: string) => Promise<string> | string,
): Catalogs {
  const connections = new Map(
    Object.entries(addresses).map(([name, address]) => [
      name,
      connect(ToolCatalog, { address, token: () => token(name), name: `Catalog ${name}` }),
    ]),
  );
  const names = [...connections.keys()];
  return {
    names,
    async describe(catalog, tools, signal) {
      const connection = connections.get(catalog);
      if (connection === undefined) {
        throw new StewardError(
          'AGENT_INVALID',
          `tools.${catalog}: there is no catalog ${catalog}; known are ${names.join(', ') || 'none'}. ` +
            'Correct the name, or add the catalog to STEWARD_CATALOGS.',
        );
      }
      const described = await ask(catalog, connection, signal);
      return pick(catalog, described, tools);
    },
    async all(catalog, signal) {
      const connection = connections.get(catalog);
      if (connection === undefined) {
        throw new StewardError(
          'NOT_FOUND',
          `There is no catalog ${catalog.slice(0, 100)}; known are ${names.join(', ') || 'none'}.`,
        );
      }
      const described = await ask(catalog, connection, signal);
      return described
        .map((wire): HostedTool => {
          const read = readDescriptor(catalog, wire);
          const [tool, faults] = 'tool' in read ? [read.tool, []] : [null, read.faults.slice(0, MOST_FAULTS)];
          return { catalog, described: wire, tool, faults };
        })
        .sort((a, b) => (a.described.name < b.described.name ? -1 : 1));
    },
    close() {
      for (const connection of connections.values()) connection.close();
    },
  };
}

type Described = Awaited<ReturnType<Connection<typeof ToolCatalog>['client']['describeTools']>>['tools'];

async function ask(
  catalog: string,
  connection: Connection<typeof ToolCatalog>,
  signal: AbortSignal,
): Promise<Described> {
  try {
    const answer = await connection.client.describeTools({}, { deadlineMs: DESCRIBE_MS, signal });
    if (answer.catalog !== catalog) throw broken(catalog, `it calls itself "${answer.catalog.slice(0, 100)}"`);
    if (answer.tools.length > MOST_TOOLS) throw broken(catalog, `it describes ${answer.tools.length} tools`);
    const tools = new Set(answer.tools.map((tool) => tool.name));
    if (tools.size !== answer.tools.length) throw broken(catalog, 'two of its tools have one name');
    return answer.tools;
  } catch (error) {
    if (!isStewardError(error) || error.code === 'CATALOG_BROKEN' || error.code === 'CANCELLED') throw error;
    if (error.code === 'TOO_LARGE' || error.code === 'INTERNAL' || error.code === 'UNIMPLEMENTED') {
      throw broken(catalog, error.message, error);
    }
    throw new StewardError(
      'CATALOG_UNAVAILABLE',
      `Catalog ${catalog} cannot be asked for its tools: ${error.message}`,
      {
        cause: error,
      },
    );
  }
}

function pick(catalog: string, described: Described, tools: readonly string[]): ToolDescriptor[] {
  const missing = tools.filter((name) => !described.some((tool) => tool.name === name));
  if (missing.length > 0) {
    const has = described.map((tool) => tool.name.slice(0, 64)).join(', ') || 'none';
    throw new StewardError('TOOL_UNKNOWN', `Catalog ${catalog} has no ${missing.join(', ')}. It has: ${has}.`, {
      details: { catalog, missing },
    });
  }
  const faults: string[] = [];
  const picked: ToolDescriptor[] = [];
  for (const wire of described.filter((tool) => tools.includes(tool.name))) {
    const read = readDescriptor(catalog, wire);
    if ('tool' in read) picked.push(read.tool);
    else faults.push(...read.faults.map((fault) => `${catalog}.${wire.name}: ${fault}`));
  }
  if (faults.length === 0) return picked;
  throw new StewardError(
    'AGENT_INVALID',
    `Tools of this agent are described in a way that cannot be pinned. Their catalog's team has to mend this:\n` +
      faults.slice(0, MOST_FAULTS).join('\n'),
    { details: { catalog } },
  );
}

function broken(catalog: string, why: string, cause?: unknown): StewardError {
  return new StewardError('CATALOG_BROKEN', `Catalog ${catalog} answers wrongly: ${why}.`, { cause });
}
