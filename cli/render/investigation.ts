import type { Investigation, InvestigationNote } from '#gen/steward/admin/v1/investigation_service_pb.ts';
import type { Look } from './look.ts';
import { type Column, fields, table } from './table.ts';
import { oneLine, visible, visibleLines } from './text.ts';
import { millis, relative, when } from './time.ts';

/** The queue as a table, in the order given. */
export function investigationTable(list: readonly Investigation[], look: Look): readonly string[] {
  const columns: readonly Column<Investigation>[] = [
    { title: 'RUN', cell: (one) => one.runId },
    { title: 'WHY', cell: (one) => one.reasons.join(', ') },
    { title: 'RUN IS', cell: (one) => one.runStatus },
    { title: 'AGENT', cell: (one) => one.agent, shrinks: true },
    { title: 'WHOSE', cell: (one) => (one.state === 'closed' ? 'closed' : one.assignee || 'nobody'), shrinks: true },
    { title: 'SINCE', cell: (one) => relative(millis(one.openedAt) ?? look.now, look.now) },
    { title: 'WHAT', cell: (one) => oneLine(one.evidence.at(-1) ?? ''), shrinks: true },
  ];
  return table(columns, list, look);
}

/** One in detail. */
export function investigationLines(
  one: Investigation,
  notes: readonly InvestigationNote[],
  look: Look,
): readonly string[] {
  const state = one.state === 'closed' ? look.paint.green('closed') : look.paint.yellow('open');
  const closed = one.closedAt === undefined ? '' : `${when(one.closedAt, look)} by ${visible(one.closedBy)}`;
  return [
    `${look.paint.bold(`Run ${visible(one.runId)}`)}  ${state}`,
    ...fields(
      [
        ['Why', one.reasons.map(visible).join(', ')],
        ['Evidence', one.evidence.map(oneLine)],
        ['Run is', visible(one.runStatus)],
        ['Agent', visible(one.agent)],
        ['For', visible(one.actingUser)],
        ['Whose', visible(one.assignee)],
        ['Opened', when(one.openedAt, look)],
        ['Closed', closed],
        ['Finding', [...visibleLines(one.finding)].filter((line) => line !== '')],
        ...notes.map((note) => [`Note ${note.number}`, noteLines(note, look)] as const),
      ],
      look,
      2,
    ),
  ];
}

function noteLines(note: InvestigationNote, look: Look): readonly string[] {
  return [`${visible(note.by)}, ${when(note.at, look)}`, ...visibleLines(note.text)];
}
