import type { MessageInitShape } from '@bufbuild/protobuf';
import { isStewardError } from '#domain/errors.ts';
import type { ListToolsRequest, ListToolsResponseSchema } from '#gen/steward/admin/v1/admin_service_pb.ts';
import type { CallContext } from '#platform/grpc/bind.ts';
import type { Catalogs, HostedTool } from '../catalogs.ts';
import { Checks } from '../checks.ts';
import type { RunApiDeps } from '../deps.ts';
import { readToolPlace, writeToolPlace } from '../pages.ts';
import { toToolSummary } from '../views/tool.ts';

const PAGE = 100;
const MOST = 200;

/** Tools that the catalogs host, as they say it themselves now. */
export async function listTools(
  ctx: CallContext,
  deps: RunApiDeps,
  request: ListToolsRequest,
): Promise<MessageInitShape<typeof ListToolsResponseSchema>> {
  const checks = new Checks();
  const size = checks.pageSize(request.pageSize, PAGE, MOST);
  checks.line('catalog', request.catalog, { max: 100 });
  checks.done();
  const after = readToolPlace(request.pageToken);
  const names = request.catalog === '' ? deps.catalogs.names.toSorted() : [request.catalog];
  const { tools, unreachable } = await askAll(deps.catalogs, names, ctx.signal);
  const left = tools.filter(
    ({ catalog, described }) => after === undefined || isBehind(catalog, described.name, after),
  );
  const page = left.slice(0, size);
  const last = page.at(-1);
  return {
    tools: page.map((tool) => toToolSummary(tool)),
    nextPageToken: last && left.length > size ? writeToolPlace(last.catalog, last.described.name) : '',
    unreachable,
  };
}

/** What these catalogs host, and which of them could not be asked. Throws NOT_FOUND for one that is not configured. */
export async function askAll(
  catalogs: Catalogs,
  names: readonly string[],
  signal: AbortSignal,
): Promise<{
  readonly tools: readonly HostedTool[];
  readonly unreachable: { readonly catalog: string; readonly code: string; readonly message: string }[];
}> {
  const answers = await Promise.all(
    names.map((catalog) =>
      catalogs.all(catalog, signal).catch((error: unknown) => {
        const known =
          isStewardError(error) && (error.code === 'CATALOG_UNAVAILABLE' || error.code === 'CATALOG_BROKEN');
        if (!known || signal.aborted) throw error;
        return { catalog, code: error.code, message: error.message };
      }),
    ),
  );
  return {
    tools: answers.flatMap((answer) => (Array.isArray(answer) ? answer : [])),
    unreachable: answers.flatMap((answer) => (Array.isArray(answer) ? [] : [answer])),
  };
}

function isBehind(catalog: string, name: string, after: readonly [string, string]): boolean {
  return catalog === after[0] ? name > after[1] : catalog > after[0];
}
