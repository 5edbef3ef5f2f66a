import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import { type Command, Option } from 'commander';
import { action } from '../action.ts';
import { documentText } from '../document.ts';
import { type ExportFormat, type ExportKind, openExport } from '../export-files.ts';
import { moment } from '../input.ts';
import { note, print } from '../terminal.ts';

interface ExportOptions {
  readonly from: Date;
  readonly to?: Date;
  readonly steps?: true;
  readonly costs?: true;
  readonly format: ExportFormat;
  readonly out: string;
}

const PROGRESS_MS = 1_000;
/** A whole export may take so long. */
const LONGEST_MS = 60 * 60_000;

/** Adds `run export`. */
export function addRunExport(parent: Command): void {
  parent
    .command('export')
    .summary('write runs of a date range to files')
    .description(
      'Writes every run created in a span of time, oldest first, with steps and costs where asked: as JSON Lines to one ' +
        'file, or as CSV to a folder (runs.csv, steps.csv, costs.csv). Money is in micro-USD. At most 92 days at once. ' +
        'Nothing stands under its final name before all of it is written.',
    )
    .requiredOption('--from <when>', 'runs created at or after: 2h, 7d, or a date', moment)
    .option('--to <when>', 'runs created before: 2h, 7d, or a date (default: now)', moment)
    .option('--steps', "also each run's steps")
    .option('--costs', 'also what each attempt at a model call was charged')
    .addOption(new Option('--format <format>', 'jsonl or csv').choices(['jsonl', 'csv']).default('jsonl'))
    .option('--out <path>', 'a file, or for CSV a folder; - is standard output', '-')
    .action(
      action<ExportOptions>(async (session, { from, to = new Date(), steps, costs, format, out }) => {
        const kinds: ExportKind[] = [
          'run',
          ...(steps ? (['step'] as const) : []),
          ...(costs ? (['cost'] as const) : []),
        ];
        const sink = await openExport(out, format, kinds);
        const counted: Record<ExportKind, number> = { run: 0, step: 0, cost: 0 };
        const told = setInterval(
          () => note(`${counted.run} runs, ${counted.step} steps, ${counted.cost} costs`),
          PROGRESS_MS,
        );
        try {
          const span = { createdAfter: timestampFromDate(from), createdBefore: timestampFromDate(to) };
          const stream = session.runs.exportRuns(
            { ...span, steps: steps === true, costs: costs === true },
            { deadlineMs: LONGEST_MS },
          );
          for await (const { item } of stream) {
            await sink.write(item);
            if (item.case !== undefined) counted[item.case] += 1;
          }
        } catch (error) {
          await sink.discard();
          throw error;
        } finally {
          clearInterval(told);
        }
        const files = await sink.finish();
        if (out === '-') return undefined;
        const { run: runs, step, cost } = counted;
        print(
          session.json
            ? [documentText({ runs, steps: step, costs: cost, files })]
            : [`${runs} runs, ${step} steps, ${cost} costs`, ...files.map((file) => `  ${file}`)],
        );
        return undefined;
      }),
    );
}
