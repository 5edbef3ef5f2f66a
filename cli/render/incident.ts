import type {
  GetBlastRadiusResponse,
  RecordImpact,
  RunImpact,
  ToolImpact,
} from '#gen/steward/incident/v1/incident_service_pb.ts';
import type { Look } from './look.ts';
import { type Column, table } from './table.ts';
import { count, visible } from './text.ts';

const SHOWN = 30;

/** What was touched: the tools first, then records and runs, cut at 30 each. */
export function blastLines(
  answer: GetBlastRadiusResponse,
  { look, command }: { readonly look: Look; readonly command: string },
): readonly string[] {
  const { tools, records, runList, runs, users, recordsInAll } = answer;
  if (tools.length === 0) return ['Nothing was touched.'];
  const more = (shown: number, of: bigint): readonly string[] =>
    BigInt(shown) < of ? [look.paint.dim(`… and ${of - BigInt(shown)} more; --json has 1,000`)] : [];
  const shownRecords = records.slice(0, SHOWN);
  const shownRuns = runList.slice(0, SHOWN);
  return [
    look.paint.bold(
      `${count(Number(runs), 'run')} for ${count(Number(users), 'user')} of tenant ${visible(answer.tenant)}`,
    ),
    '',
    ...table(TOOLS, tools, look),
    '',
    look.paint.bold(count(Number(recordsInAll), 'record')),
    ...(shownRecords.length === 0 ? [] : table(RECORDS, shownRecords, look)),
    ...more(shownRecords.length, recordsInAll),
    '',
    look.paint.bold('Runs'),
    ...table(RUNS, shownRuns, look),
    ...more(shownRuns.length, runs),
    '',
    `Undo one: ${command} run undo <run>    Secure its evidence: ${command} incident snapshot <run>`,
  ];
}

const TOOLS: readonly Column<ToolImpact>[] = [
  { title: 'TOOL', cell: ({ catalog, tool }) => `${catalog}/${tool}` },
  { title: 'WHERE', cell: ({ outside }) => (outside ? 'outside' : 'its catalog') },
  { title: 'DONE', cell: ({ done }) => String(done), right: true },
  { title: 'UNDOABLE', cell: ({ undoable }) => String(undoable), right: true },
  { title: 'UNDONE', cell: ({ undone }) => String(undone), right: true },
  { title: 'FINAL', cell: ({ final }) => String(final), right: true },
  { title: 'UNKNOWN', cell: ({ unknown }) => String(unknown), right: true },
  { title: 'RUNNING', cell: ({ running }) => String(running), right: true },
];

const RECORDS: readonly Column<RecordImpact>[] = [
  { title: 'RECORD', cell: ({ record }) => record, shrinks: true },
  { title: 'CATALOG', cell: ({ catalog }) => catalog },
  { title: 'CHANGES', cell: ({ changes }) => String(changes), right: true },
  { title: 'LAST RUN', cell: ({ lastRunId }) => lastRunId },
];

const RUNS: readonly Column<RunImpact>[] = [
  { title: 'RUN', cell: ({ runId }) => runId },
  { title: 'STATUS', cell: ({ status }) => status },
  { title: 'AGENT', cell: ({ agent }) => agent, shrinks: true },
  { title: 'FOR', cell: ({ actingUser }) => actingUser, shrinks: true },
  { title: 'EFFECTS', cell: ({ effects }) => String(effects), right: true },
  { title: 'UNDOABLE', cell: ({ undoable }) => String(undoable), right: true },
];
