import type { Command } from 'commander';
import { StewardError } from '#domain/errors.ts';
import {
  GetToolResponseSchema,
  type ListToolsResponse,
  ListToolsResponseSchema,
  type ToolSummary,
} from '#gen/steward/admin/v1/admin_service_pb.ts';
import { action } from '../action.ts';
import { whole } from '../input.ts';
import type { Look } from '../render/look.ts';
import { fields, table } from '../render/table.ts';
import { oneLine, visible, visibleLines } from '../render/text.ts';

/** Adds `tool` and its commands. */
export function addTool(program: Command): void {
  const tool = program
    .command('tool')
    .summary('look at the tools that catalogs host')
    .description('Looks at the tools that catalogs host, as they describe themselves now.');
  addList(tool);
  addShow(tool);
}

interface ListOptions {
  readonly catalog?: string;
  readonly limit: number;
  readonly pageToken?: string;
}

function addList(parent: Command): void {
  parent
    .command('list')
    .summary('list tools')
    .description('Lists the tools of all catalogs, by catalog and name. Catalogs that give no answer are named.')
    .option('--catalog <name>', 'only tools of this catalog')
    .option('--limit <n>', 'at most so many', whole(1, 200), 100)
    .option('--page-token <token>', 'go on where an earlier page ended')
    .action(
      action<ListOptions>(async (session, { catalog = '', limit, pageToken = '' }) => {
        const asked = session.admin.listTools({ catalog, pageSize: limit, pageToken });
        const answer = await session.wait('Waiting for the catalogs', asked);
        session.show(ListToolsResponseSchema, answer, () => listLines(answer, session.look));
        if (answer.nextPageToken !== '') session.remark(`More: add --page-token ${answer.nextPageToken}`);
        return undefined;
      }),
    );
}

function listLines({ tools, unreachable }: ListToolsResponse, look: Look): readonly string[] {
  const missing = unreachable.map(({ catalog, message }) =>
    look.paint.yellow(`Not listed: ${visible(catalog)}: ${oneLine(message)}`),
  );
  if (tools.length === 0) return ['No such tools.', ...missing];
  const columns = [
    { title: 'CATALOG', cell: (tool: ToolSummary) => tool.catalog },
    { title: 'TOOL', cell: (tool: ToolSummary) => tool.name },
    { title: 'VERSION', cell: (tool: ToolSummary) => tool.version },
    { title: 'RISK', cell: (tool: ToolSummary) => tool.risk },
    { title: 'EFFECT', cell: (tool: ToolSummary) => tool.effectClass },
    { title: 'ABOUT', cell: (tool: ToolSummary) => oneLine(tool.description), shrinks: true },
  ];
  return [...table(columns, tools, look), ...missing];
}

function addShow(parent: Command): void {
  parent
    .command('show')
    .summary('show a tool whole')
    .description('Shows a tool whole: what it says of itself, its schemas, and which agents use it.')
    .argument('<tool>', 'its name, or catalog/name where several catalogs host one of that name')
    .action(
      action(async (session, _options, [text = '']) => {
        const at = text.indexOf('/');
        const asked = session.admin.getTool({ catalog: at < 0 ? '' : text.slice(0, at), name: text.slice(at + 1) });
        const answer = await session.wait('Waiting for the catalog', asked);
        const { tool, definitionJson, agents } = answer;
        if (tool === undefined) throw new StewardError('INTERNAL', 'run-api answered without a tool.');
        session.show(GetToolResponseSchema, answer, () => [
          session.look.paint.bold(`Tool ${visible(tool.catalog)}/${visible(tool.name)}`),
          ...fields(
            [
              ['Version', `${visible(tool.version)}, ${visible(tool.hash)}`],
              ['Risk', visible(tool.risk)],
              ['Effect', visible(tool.effectClass)],
              [
                'Agents',
                agents.map(({ agent, outdated }) => `${visible(agent)}${outdated ? ' (outdated)' : ''}`).join(', '),
              ],
              ...tool.faults.map((fault) => ['Fault', oneLine(fault)] as const),
            ],
            session.look,
            2,
          ),
          '',
          ...visibleLines(JSON.stringify(JSON.parse(definitionJson), null, 2)),
        ]);
        return undefined;
      }),
    );
}
