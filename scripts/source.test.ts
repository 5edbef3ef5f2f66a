import { expect, test } from '@jest/globals';
import { importsOf, testModifiersOf } from '#scripts/source.ts';

test('every form of import is found, with its line and whether it is types only', () => {
  const text = [
    `import type { A } from './a.ts';`,
    `import { b, type B } from "./b.ts";`,
    `export * from './c.ts';`,
    `export type * from './d.ts';`,
    `export { e } from './e.ts';`,
    `const f = await import('./f.ts');`,
    'const g = await import(`./g.ts`);',
    `type H = import('./h.ts').H;`,
    `import i = require('./i.ts');`,
    `const j = require('./j.ts');`,
    `import './k.ts';`,
    `// import './comment.ts';`,
    `const text = "import './text.ts'";`,
    `export { text };`,
  ].join('\n');
  expect(importsOf('x.ts', text)).toEqual(
    expect.arrayContaining([
      { specifier: './a.ts', typeOnly: true, line: 1 },
      { specifier: './b.ts', typeOnly: false, line: 2 },
      { specifier: './c.ts', typeOnly: false, line: 3 },
      { specifier: './d.ts', typeOnly: true, line: 4 },
      { specifier: './e.ts', typeOnly: false, line: 5 },
      { specifier: './f.ts', typeOnly: false, line: 6 },
      { specifier: './g.ts', typeOnly: false, line: 7 },
      { specifier: './h.ts', typeOnly: true, line: 8 },
      { specifier: './i.ts', typeOnly: false, line: 9 },
      { specifier: './j.ts', typeOnly: false, line: 10 },
      { specifier: './k.ts', typeOnly: false, line: 11 },
    ]),
  );
  expect(importsOf('x.ts', text)).toHaveLength(11);
});

test('a computed import has no specifier', () => {
  expect(importsOf('x.ts', 'const n = 1;\nawait import(`./a` + n);')).toEqual([
    { specifier: null, typeOnly: false, line: 2 },
  ]);
});

test('JSX is understood in .tsx only, and what does not parse names its file', () => {
  expect(importsOf('x.tsx', `import { A } from './a.tsx'; export const b = <A />;`)).toHaveLength(1);
  expect(() => importsOf('dir/x.ts', 'const a: = 1')).toThrow(/^dir\/x\.ts does not parse/);
});

test('skipped and singled-out tests are found in every spelling, and not in texts', () => {
  const spellings = [
    `test.skip('a', f);`,
    `it.only('a', f);`,
    `describe['skip']('a', f);`,
    `test.concurrent.only('a', f);`,
    `test.skip.each([1])('a', f);`,
    `test.todo('a');`,
    `xit('a', f);`,
    `fdescribe('a', f);`,
  ];
  for (const spelling of spellings)
    expect([spelling, testModifiersOf('x.ts', spelling)]).toEqual([spelling, [expect.anything()]]);
  expect(
    testModifiersOf('x.ts', `test('a', f); const b = "test.skip"; stream.skip(1); pages.only; // it.only`),
  ).toEqual([]);
});
