import { expect, test } from '@jest/globals';
import { type ErrorCode, StewardError } from '#domain/errors.ts';
import type { ModelAnswer, ModelPort, ModelRequest, ModelRoute } from '#domain/ports/model.ts';
import { createRouter } from './router.ts';

const CLAUDE = 'claude-sonnet-5-5';
const GPT = 'gpt-6-sol';
const HALF_OPEN_MS = 30_000;

const usage = { input: 1, output: 1, cacheRead: 0, cacheWrite: 0, reasoning: 0 };

/** Two adapters that do as they are told, behind one router with a clock of its own. */
function world(only: readonly ('anthropic' | 'openai')[] = ['anthropic', 'openai']) {
  let now = 1_000_000;
  const told: Record<string, ErrorCode | { after: number } | Promise<void> | undefined> = {};
  const adapter = (wire: 'anthropic' | 'openai'): ModelPort => ({
    estimateInputTokens: () => (wire === 'openai' ? 2 : 1),
    async complete({ model }): Promise<ModelAnswer> {
      const say = told[wire];
      if (say instanceof Promise) await say;
      else if (typeof say === 'object')
        throw new StewardError('MODEL_RATE_LIMITED', 'Wait.', { details: { retryAfterMs: say.after } });
      else if (say !== undefined) throw new StewardError(say, 'No.');
      return { content: [{ type: 'text', text: 'Hi' }], stop: 'end_turn', usage, model, requestId: null };
    },
  });
  const router = createRouter(Object.fromEntries(only.map((wire) => [wire, adapter(wire)])), {
    halfOpenAfterMs: HALF_OPEN_MS,
    now: () => now,
  });
  const call = (model: string) =>
    router
      .complete({ model } as ModelRequest, () => undefined, new AbortController().signal)
      .then(
        (answer) => answer.model,
        (error: StewardError) => error.code,
      );
  return {
    router,
    told,
    call,
    pass: (ms: number) => {
      now += ms;
    },
    async outages(model: string, count: number) {
      for (let nth = 0; nth < count; nth += 1) expect(await call(model)).toMatch(/^MODEL_/);
    },
    choose: (errors: Partial<ModelRoute['errors']> = {}, fallback: string | null = GPT) => {
      const { model, why } = router.choose({
        primary: CLAUDE,
        fallback,
        errors: { primary: 0, fallback: 0, ...errors },
      });
      return `${model === CLAUDE ? 'primary' : 'fallback'}: ${why}`;
    },
  };
}

test('each request goes to the adapter of its model; one without a key is refused by name', async () => {
  const { router, call } = world(['openai']);
  expect(await call(GPT)).toBe(GPT);
  expect(router.estimateInputTokens({ model: GPT } as ModelRequest)).toBe(2);
  expect(await call(CLAUDE)).toBe('MODEL_AUTH');
  expect(() => router.estimateInputTokens({ model: CLAUDE } as ModelRequest)).toThrow(/claude.*Set ANTHROPIC_API_KEY/);
  expect(() => router.estimateInputTokens({ model: 'gpt-9' } as ModelRequest)).toThrow(/not known/);
});

test('the fourth error of a turn takes it to the fallback, and only where there is one', () => {
  const { choose } = world();
  expect(choose({ primary: 3 })).toBe('primary: primary');
  expect(choose({ primary: 4 })).toBe('fallback: errors');
  expect(choose({ primary: 9 }, null)).toBe('primary: primary');
});

test('where both are in trouble, the one that has failed less is asked, the primary first', () => {
  const { choose } = world();
  expect(choose({ primary: 4, fallback: 3 })).toBe('fallback: errors');
  expect(choose({ primary: 4, fallback: 4 })).toBe('primary: primary');
  expect(choose({ primary: 5, fallback: 4 })).toBe('fallback: errors');
});

test('a fallback without a key is none, and a primary without one is never asked', () => {
  expect(world(['anthropic']).choose({ primary: 9 })).toBe('primary: primary');
  expect(world(['openai']).choose()).toBe('fallback: no_key');
});

test('five outages in a row open the breaker for all runs; a trial after half a minute closes it, or opens it again', async () => {
  const w = world();
  w.told.anthropic = 'MODEL_OVERLOADED';
  await w.outages(CLAUDE, 4);
  expect(w.choose()).toBe('primary: primary');
  await w.outages(CLAUDE, 1);
  expect(w.choose()).toBe('fallback: unavailable');
  expect(w.router.choose({ primary: GPT, fallback: CLAUDE, errors: { primary: 0, fallback: 0 } }).model).toBe(GPT);
  w.pass(HALF_OPEN_MS - 1);
  expect(w.choose()).toBe('fallback: unavailable');
  w.pass(1);
  expect(w.choose()).toBe('primary: primary');
  await w.outages(CLAUDE, 1);
  expect(w.choose()).toBe('fallback: unavailable');
  w.pass(HALF_OPEN_MS);
  // While one call tries, the others do not wait for it.
  const { promise, resolve } = Promise.withResolvers<void>();
  w.told.anthropic = promise;
  const trial = w.call(CLAUDE);
  expect(w.choose()).toBe('fallback: unavailable');
  resolve();
  expect(await trial).toBe(CLAUDE);
  expect(w.choose()).toBe('primary: primary');
  w.told.anthropic = 'MODEL_UNAVAILABLE';
  await w.outages(CLAUDE, 4);
  expect(w.choose()).toBe('primary: primary');
});

test('an answer in between begins the count anew; refusals, nonsense and cancelled calls are no outages', async () => {
  const w = world();
  for (let round = 0; round < 3; round += 1) {
    w.told.anthropic = 'MODEL_CUT_OFF';
    await w.outages(CLAUDE, 4);
    w.told.anthropic = undefined;
    expect(await w.call(CLAUDE)).toBe(CLAUDE);
  }
  for (const code of ['MODEL_REQUEST_REFUSED', 'MODEL_AUTH', 'MODEL_BAD_ANSWER', 'CANCELLED'] as const) {
    w.told.anthropic = code;
    for (let nth = 0; nth < 6; nth += 1) expect(await w.call(CLAUDE)).toBe(code);
  }
  expect(w.choose()).toBe('primary: primary');
});

test('a provider that asks to be left alone for long is, until it answers somebody', async () => {
  const w = world();
  w.told.anthropic = { after: HALF_OPEN_MS };
  await w.outages(CLAUDE, 1);
  expect(w.choose()).toBe('primary: primary');
  w.told.anthropic = { after: 600_000 };
  await w.outages(CLAUDE, 1);
  expect(w.choose()).toBe('fallback: unavailable');
  w.pass(599_000);
  expect(w.choose()).toBe('fallback: unavailable');
  w.pass(1_001);
  expect(w.choose()).toBe('primary: primary');
  await w.outages(CLAUDE, 1);
  w.told.anthropic = undefined;
  await w.call(CLAUDE);
  expect(w.choose()).toBe('primary: primary');
});
