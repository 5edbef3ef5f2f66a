import { create } from '@bufbuild/protobuf';
import { expect, test } from '@jest/globals';
import { ChangeSchema } from '#gen/steward/common/v1/change_pb.ts';
import { changeLines } from './change.ts';
import { COLOURS, type Look, PLAIN } from './look.ts';

const look: Look = { paint: PLAIN, width: 60, now: 0 };

const change = create(ChangeSchema, {
  summary: 'update task "Ship it"',
  fields: [
    { record: 'task/t_4', field: 'status', beforeJson: '"open"', afterJson: '"done"' },
    { record: 'task/t_5', field: 'title', beforeJson: '"Old"' },
    { record: 'task/t_4', field: 'note', afterJson: '"a\\nb"' },
  ],
  quantities: { 'rows.deleted': 1n, emails: 2n },
});

test('a change is a diff by record, with what it spends', () => {
  expect(changeLines(change, look)).toEqual([
    'update task "Ship it"',
    'task/t_4',
    '  - status: "open"',
    '  + status: "done"',
    '  + note: "a\\nb"',
    'task/t_5',
    '  - title: "Old"',
    'spends emails 2, rows.deleted 1',
  ]);
});

test('values are whole where a person decides about them', () => {
  const lines = changeLines(change, look, { whole: true, fieldsOnly: true, indent: '  ' });
  expect(lines).toContain('    + note:');
  expect(lines).toContain('    +   │ a');
  expect(lines[0]).toBe('  task/t_4');
});

test('elsewhere a long value is cut to the line', () => {
  const long = create(ChangeSchema, { fields: [{ record: 'r/1', field: 'f', afterJson: `"${'x'.repeat(300)}"` }] });
  for (const line of changeLines(long, look)) expect(line.length).toBeLessThanOrEqual(60);
  expect(changeLines(long, look, { whole: true }).join('').match(/x/g)).toHaveLength(300);
});

test('removed is red, added is green, and content cannot paint', () => {
  const evil = create(ChangeSchema, {
    fields: [{ record: 'r/1', field: 'f', beforeJson: '"\u001b[32m"', afterJson: '"b"' }],
  });
  const lines = changeLines(evil, { ...look, paint: COLOURS });
  expect(lines[1]).toBe('  \u001b[31m- f: "␛[32m"\u001b[39m');
  expect(lines[2]).toBe('  \u001b[32m+ f: "b"\u001b[39m');
});
