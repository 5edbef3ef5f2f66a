import { expect, test } from '@jest/globals';
import { type InputUsage, PromptCache, promptOf } from './usage.ts';
import { requestSchema } from './wire.ts';

const cache_control = { type: 'ephemeral' };

/** One message of `blocks` numbered texts, with breakpoints at some. */
function account(cache: PromptCache, blocks: number, breakpoints: readonly number[], model = 'offline-1'): InputUsage {
  const content = Array.from({ length: blocks }, (_, at) => ({
    type: 'text',
    text: `block ${String(at).padStart(10, '0')}`,
    ...(breakpoints.includes(at) ? { cache_control } : {}),
  }));
  return cache.account(promptOf(requestSchema.parse({ model, max_tokens: 1, messages: [{ role: 'user', content }] })));
}

const BLOCK = 14;

test('each token is counted once: read, written, or neither', () => {
  const cache = new PromptCache();
  expect(account(cache, 5, [])).toEqual(usage(5 * BLOCK, 0, 0));
  expect(account(cache, 5, [2])).toEqual(usage(2 * BLOCK, 0, 3 * BLOCK));
  expect(account(cache, 5, [2])).toEqual(usage(2 * BLOCK, 3 * BLOCK, 0));
  expect(account(cache, 8, [2, 6])).toEqual(usage(BLOCK, 3 * BLOCK, 4 * BLOCK));
  expect(account(cache, 5, [2], 'claude-opus-5')).toEqual(usage(2 * BLOCK, 0, 3 * BLOCK));
});

test('a breakpoint looks back over twenty blocks and no further', () => {
  const near = new PromptCache();
  account(near, 1, [0]);
  expect(account(near, 20, [19]).cache_read_input_tokens).toBe(BLOCK);
  const far = new PromptCache();
  account(far, 1, [0]);
  expect(account(far, 21, [20]).cache_read_input_tokens).toBe(0);
});

function usage(input: number, read: number, written: number): InputUsage {
  return { input_tokens: input + 4, cache_read_input_tokens: read, cache_creation_input_tokens: written };
}
