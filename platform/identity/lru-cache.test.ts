import { expect, test } from '@jest/globals';
import { LruCache } from './lru-cache.ts';

test('keeps what was used last, and no more than its limit', () => {
  const cache = new LruCache<string, number>(2);
  cache.set('a', 1);
  cache.set('b', 2);
  expect(cache.get('a')).toBe(1);
  cache.set('c', 3);
  expect([cache.get('a'), cache.get('b'), cache.get('c')]).toEqual([1, undefined, 3]);
  cache.set('c', 4);
  expect([cache.get('c'), cache.size]).toEqual([4, 2]);
});

test('what is too large together makes room, and one that is too large alone does not stay', () => {
  const cache = new LruCache<string, string>(10, 5, (text) => text.length);
  cache.set('a', 'xx');
  cache.set('b', 'xx');
  cache.set('a', 'xxx');
  expect([cache.get('b'), cache.get('a')]).toEqual(['xx', 'xxx']);
  cache.set('c', 'x');
  expect([cache.get('b'), cache.get('a'), cache.get('c')]).toEqual([undefined, 'xxx', 'x']);
  cache.set('d', 'xxxxxx');
  expect(cache.size).toBe(0);
});
