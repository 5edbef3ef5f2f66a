import type { Look } from './look.ts';
import { displayWidth, padEnd, truncate, visible, wrap } from './text.ts';

/** One column of a table of `T`. */
export interface Column<T> {
  readonly title: string;
  /** Text of a cell; may come from elsewhere. */
  readonly cell: (row: T) => string;
  readonly paint?: (text: string, row: T) => string;
  readonly right?: boolean;
  /** May be cut where the terminal is too narrow; the others never are. */
  readonly shrinks?: boolean;
}

const GAP = '  ';
const NARROWEST = 8;

/** A table that fits the width, heading first. Only columns that shrink are cut, the widest first. */
export function table<T>(columns: readonly Column<T>[], rows: readonly T[], look: Look): readonly string[] {
  const cells = rows.map((row) => columns.map((column) => visible(column.cell(row))));
  const widths = columns.map((column, index) =>
    Math.max(displayWidth(column.title), ...cells.map((row) => displayWidth(row[index] ?? ''))),
  );
  shrink(columns, widths, look.width);
  const line = (texts: readonly string[], paint: (text: string, index: number) => string): string => {
    const parts = texts.map((text, index) => {
      const width = widths[index] ?? 0;
      const cut = truncate(text, width);
      const fill = ' '.repeat(width - displayWidth(cut));
      const painted = paint(cut, index);
      if (columns[index]?.right === true) return fill + painted;
      return index === texts.length - 1 ? painted : painted + fill;
    });
    return parts.join(GAP).trimEnd();
  };
  const heading = line(
    columns.map((column) => column.title),
    (text) => look.paint.dim(text),
  );
  return [
    heading,
    ...rows.map((row, at) => line(cells[at] ?? [], (text, index) => columns[index]?.paint?.(text, row) ?? text)),
  ];
}

function shrink(columns: readonly Column<never>[], widths: number[], room: number): void {
  if (room === Number.POSITIVE_INFINITY) return;
  const gaps = GAP.length * (columns.length - 1);
  let over = widths.reduce((sum, width) => sum + width, gaps) - room;
  while (over > 0) {
    let widest = -1;
    for (const [index, column] of columns.entries()) {
      if (column.shrinks === true && (widths[index] ?? 0) > (widths[widest] ?? NARROWEST)) widest = index;
    }
    if (widest < 0) return;
    widths[widest] = (widths[widest] ?? 0) - 1;
    over -= 1;
  }
}

/** One detail: its name and what stands beside it. Several lines stand below one another. */
export type Field = readonly [name: string, value: string | readonly string[]];

/**
 * Names and values under one another, values wrapped to the width. Values are printed as they are: make them visible
 * first. Empty values are left out.
 */
export function fields(rows: readonly Field[], look: Look, indent = 0): readonly string[] {
  const shown = rows.filter(([, value]) => value.length > 0);
  const width = Math.max(0, ...shown.map(([name]) => displayWidth(name)));
  const room = look.width - indent - width - GAP.length;
  return shown.flatMap(([name, value]) => {
    const lines = (typeof value === 'string' ? [value] : value).flatMap((line) => fitted(line, room));
    return lines.map((line, at) => {
      const label = look.paint.dim(padEnd(at === 0 ? name : '', width));
      return `${' '.repeat(indent)}${label}${GAP}${line}`;
    });
  });
}

// Our own colours have no width, and must not be cut in two: such a line is left to the terminal.
function fitted(line: string, room: number): readonly string[] {
  return line.includes('\u001b') || room === Number.POSITIVE_INFINITY ? [line] : wrap(line, room);
}
