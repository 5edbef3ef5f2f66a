import { expect, test } from '@jest/globals';
import { COLOURS, type Look, PLAIN } from './look.ts';
import { type Column, fields, table } from './table.ts';
import { displayWidth } from './text.ts';

const look: Look = { paint: PLAIN, width: 40, now: 0 };

interface Row {
  readonly id: string;
  readonly text: string;
  readonly n: number;
}

const columns: readonly Column<Row>[] = [
  { title: 'ID', cell: (row) => row.id },
  { title: 'N', cell: (row) => String(row.n), right: true },
  { title: 'TEXT', cell: (row) => row.text, shrinks: true },
];

test('columns align, numbers to the right', () => {
  const rows = [
    { id: 'a', text: 'one', n: 5 },
    { id: 'bcd', text: '完了', n: 120 },
  ];
  expect(table(columns, rows, look)).toEqual(['ID     N  TEXT', 'a      5  one', 'bcd  120  完了']);
});

test('a table fits the terminal: only columns that may shrink are cut', () => {
  const rows = [{ id: 'run_0123456789', text: 'x'.repeat(100), n: 1 }];
  const lines = table(columns, rows, look);
  for (const line of lines) expect(displayWidth(line)).toBeLessThanOrEqual(40);
  expect(lines[1]).toMatch(/^run_0123456789 {2}1 {2}x+…$/);
  expect(table(columns, rows, { ...look, width: Number.POSITIVE_INFINITY })[1]).toContain('x'.repeat(100));
});

test('cells cannot break out of their row', () => {
  const lines = table(columns, [{ id: 'a\nb', text: '\u001b[31m', n: 1 }], look);
  expect(lines).toHaveLength(2);
  expect(lines.join('')).not.toContain('\u001b');
});

test('details wrap under their value and leave out what is empty', () => {
  const lines = fields(
    [
      ['Name', 'a b '.repeat(12)],
      ['Empty', ''],
      ['None', []],
      ['Longer', ['x', 'y']],
    ],
    look,
    2,
  );
  expect(lines[0]).toMatch(/^ {2}Name {4}a b/);
  expect(lines[1]).toMatch(/^ {10}\w \w/);
  expect(lines.slice(-2)).toEqual(['  Longer  x', '          y']);
  expect(lines.join('\n')).not.toContain('Empty');
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(40);
});

test('a painted value is not cut in two', () => {
  const painted = COLOURS.red('x'.repeat(60));
  expect(fields([['A', painted]], look)).toEqual([`A  ${painted}`]);
});
