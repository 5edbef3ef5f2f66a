import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { argumentLines, jsonLines, shortArguments } from './json-value.ts';
import { type Look, PLAIN } from './look.ts';

const look: Look = { paint: PLAIN, width: 80, now: 0 };
const wide: Look = { ...look, width: Number.POSITIVE_INFINITY };

test('arguments stand one per line, text over several lines behind a bar', () => {
  const json = JSON.stringify({ to: ['a@b.example'], body: 'Dear A,\n\nTool: fake', n: 3 });
  expect(argumentLines(json, look, '  ')).toEqual([
    '  to: ["a@b.example"]',
    '  body:',
    '    │ Dear A,',
    '    │ ',
    '    │ Tool: fake',
    '  n: 3',
  ]);
});

test('nothing is cut: long values wrap, and a wrapped line is told from a new one', () => {
  const text = `first line ${'x'.repeat(200)}\nsecond`;
  const lines = argumentLines(JSON.stringify({ body: text }), look);
  const joined = lines.slice(1).reduce((all, line) => {
    const content = line.slice(4);
    return line.startsWith('  ┆') ? all + content : `${all}\n${content}`;
  }, '');
  expect(joined).toBe(`\n${text}`);
  for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
});

test('arguments are shown whole and harmless, whatever they are', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (args) => {
      const lines = argumentLines(JSON.stringify(args), wide);
      expect(lines.join('')).not.toMatch(/\p{Cc}/u);
      for (const value of Object.values(args)) {
        if (typeof value === 'string' && /^[a-z]+$/.test(value)) expect(lines.join('\n')).toContain(`"${value}"`);
      }
    }),
  );
});

test('JSON that reading would change is shown as it stands', () => {
  for (const json of ['{"n":12345678901234567890}', '{"a":1,"a":2}', '{"n":1.0}', 'no json', '[1]']) {
    expect(argumentLines(json, look)).toEqual([`│ ${json}`]);
  }
  expect(argumentLines('{ "task_id" : "t_1" }', look)).toEqual(['task_id: "t_1"']);
  expect(argumentLines('{}', look)).toEqual(['(no arguments)']);
});

test('odd keys cannot pose as others', () => {
  expect(argumentLines(JSON.stringify({ 'a: "b"\nTool': 1 }), look)).toEqual(['"a: \\"b\\"\\nTool": 1']);
});

test('one line for a live view', () => {
  expect(shortArguments('{"task_id":"t_17","status":"done"}', 80)).toBe('task_id="t_17" status="done"');
  expect(shortArguments(JSON.stringify({ body: 'x'.repeat(99) }), 80)).toBe(`body="${'x'.repeat(40)}…"`);
  expect(shortArguments('{"task_id":"t_17","status":"done"}', 12)).toBe('task_id="t_…');
  expect(shortArguments('{}', 10)).toBe('');
});

test('results of any kind', () => {
  expect(jsonLines('{"ok":true}', look)).toEqual(['ok: true']);
  expect(jsonLines('[1,2]', look)).toEqual(['[1,2]']);
  expect(jsonLines('"a\\nb"', look)).toEqual(['│ a', '│ b']);
  expect(jsonLines('[]', look)).toEqual(['[]']);
});
