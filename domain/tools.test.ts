import { expect, test } from '@jest/globals';
import { keptKeys, resourceKeysOf, withinResources } from './tools.ts';

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
