import type { AgentVersion } from '#gen/steward/admin/v1/admin_service_pb.ts';
import type { Look } from './look.ts';
import { type Column, fields, table } from './table.ts';
import { oneLine, visible } from './text.ts';
import { millis, relative, when } from './time.ts';

/** Agents as a table, in the order given. */
export function agentTable(agents: readonly AgentVersion[], look: Look): readonly string[] {
  const age = (agent: AgentVersion): string => {
    const at = millis(agent.appliedAt);
    return at === null ? '' : relative(at, look.now);
  };
  const columns: readonly Column<AgentVersion>[] = [
    { title: 'AGENT', cell: (agent) => agent.name },
    { title: 'VERSION', cell: (agent) => agent.hash.slice(0, 12) },
    { title: 'MODEL', cell: (agent) => agent.model, shrinks: true },
    { title: 'TOOLS', cell: (agent) => String(agent.tools.length), right: true },
    { title: 'APPLIED', cell: age },
    { title: 'DESCRIPTION', cell: (agent) => oneLine(agent.description), shrinks: true },
  ];
  return table(columns, agents, look);
}

/** One version of an agent in detail, without its definition. */
export function agentLines(agent: AgentVersion, look: Look): readonly string[] {
  const by = agent.appliedBy === '' ? '' : ` by ${visible(agent.appliedBy)}`;
  return [
    look.paint.bold(`Agent ${visible(agent.name)}`) + (agent.current ? '' : look.paint.yellow('  not current')),
    ...fields(
      [
        ['Version', visible(agent.hash)],
        ['About', oneLine(agent.description)],
        ['Model', visible(agent.model)],
        ...(agent.fallback === '' ? [] : [['Fallback', visible(agent.fallback)] as const]),
        ['Tools', agent.tools.map(visible).join(', ')],
        ['Applied', `${when(agent.appliedAt, look)}${by}`],
      ],
      look,
      2,
    ),
  ];
}
