import { expect, test } from '@jest/globals';
import { TextWriter } from './text-writer.ts';

/** A writer whose writes a test lets through one by one. */
function writer() {
  const writes: { start: number; text: string; done: PromiseWithResolvers<void> }[] = [];
  let came = Promise.withResolvers<void>();
  const texts = new TextWriter((start, text) => {
    const done = Promise.withResolvers<void>();
    writes.push({ start, text, done });
    came.resolve();
    return done.promise;
  });
  return {
    texts,
    writes,
    /** The next write, once it is under way. */
    async next(nth: number) {
      while (writes.length <= nth) {
        await came.promise;
        came = Promise.withResolvers();
      }
      return writes[nth] as (typeof writes)[number];
    },
  };
}

test('text goes out in batches, in order, one write at a time, each with where it starts', async () => {
  const { texts, writes, next } = writer();
  for (const piece of ['Hel', 'lo', ' ']) texts.add(piece);
  const first = await next(0);
  expect([first.start, first.text]).toEqual([0, 'Hello ']);
  texts.add('wor');
  texts.add('ld');
  expect(writes).toHaveLength(1);
  first.done.resolve();
  const second = await next(1);
  expect([second.start, second.text]).toEqual([6, 'world']);
  second.done.resolve();
  await texts.stop();
});

test('a write that fails is dropped, and the next one stands where it belongs', async () => {
  const { texts, next } = writer();
  texts.add('lost');
  (await next(0)).done.reject(new Error('the database is away'));
  texts.add('kept');
  const second = await next(1);
  expect([second.start, second.text]).toEqual([4, 'kept']);
  second.done.resolve();
  await texts.stop();
});

test('an answer that is done at once writes nothing; stopping waits for the write under way and drops the rest', async () => {
  const quick = writer();
  quick.texts.add('quick');
  await quick.texts.stop();
  const { texts, writes, next } = writer();
  texts.add('one');
  const first = await next(0);
  texts.add('two');
  let stopped = false;
  const stop = texts.stop().then(() => {
    stopped = true;
  });
  await Promise.resolve();
  expect(stopped).toBe(false);
  first.done.resolve();
  await stop;
  texts.add('three');
  await texts.stop();
  expect(writes).toHaveLength(1);
  expect(quick.writes).toHaveLength(0);
});
