import { expect, test } from '@jest/globals';
import type { JsonObject } from './json.ts';
import { hasEffect, keptKeys, resourceKeysOf, withinResources } from './tools.ts';

test('one resource outside of the narrowing is found behind any number of allowed ones', () => {
  const to = [...Array.from({ length: 50 }, (_, index) => `friend-${index}`), 'stranger'];
  const keys = resourceKeysOf(['email/{to}'], { to });
  expect(keys).toHaveLength(51);
  expect(
    withinResources(
      to.slice(0, 50).map((one) => `email/${one}`),
      keys,
    ),
  ).toBe(false);
});

test('a resource does not pass for the one its name begins with', () => {
  const allowed = `folder/${'a'.repeat(193)}`;
  const keys = resourceKeysOf(['folder/{folder}'], { folder: `${'a'.repeat(193)}-secret` });
  expect(allowed).toHaveLength(200);
  expect(withinResources([allowed], keys)).toBe(false);
});

test('what is kept of them is bounded, and text that any table takes', () => {
  const keys = resourceKeysOf(['note/{ids}'], {
    ids: [`${'a'.repeat(194)}\u{1f600}`, ...Array.from({ length: 80 }, (_, n) => n)],
  });
  const kept = keptKeys(keys);
  expect(kept).toHaveLength(50);
  expect(kept[0]).toHaveLength(200);
  expect(kept[0]?.isWellFormed()).toBe(true);
});

test.each<[string, string[], JsonObject, string[]]>([
  ['a string', ['task/{task_id}'], { task_id: 't1' }, ['task/t1']],
  ['an integer', ['task/{id}'], { id: 7 }, ['task/7']],
  ['each of an array, once', ['task/{ids}'], { ids: ['a', 'b', 'a'] }, ['task/a', 'task/b']],
  ['several templates', ['task/{id}', 'user/{to}'], { id: 'a', to: 'b' }, ['task/a', 'user/b']],
  ['a missing field', ['task/{id}'], {}, []],
  [
    'null, objects, booleans, fractions and huge numbers',
    ['a/{a}', 'b/{b}', 'c/{c}', 'd/{d}', 'e/{e}'],
    { a: null, b: {}, c: true, d: 1.5, e: 2 ** 60 },
    [],
  ],
  ['what is no template', ['task/id', 'Task/{id}', 'task/{id}/x', '{id}', 'task/{i d}'], { id: 'a' }, []],
  ['what an object inherits', ['a/{constructor}', 'b/{__proto__}', 'c/{toString}'], {}, []],
])('resource keys from %s', (_, templates, args, keys) => {
  expect(resourceKeysOf(templates, args)).toEqual(keys);
});

test.each<[string[], string[], boolean]>([
  [[], ['project/gemini'], true],
  [['project/apollo'], [], true],
  [['project/apollo'], ['project/apollo'], true],
  [['project/apollo'], ['project/apollo', 'project/gemini'], false],
  [['project/apollo'], ['project/apollo2'], false],
  [['project/apollo'], ['task/t1'], true],
  [['project/apollo', 'task/t1'], ['project/apollo', 'task/t2'], false],
])('a run narrowed to %j may touch %j: %s', (resources, keys, within) => {
  expect(withinResources(resources, keys)).toBe(within);
});

test('every effect class but none has an effect', () => {
  const classes = ['none', 'transactional', 'keyed', 'unkeyed'] as const;
  expect(classes.map((effectClass) => hasEffect({ effectClass }))).toEqual([false, true, true, true]);
});
