import { expect, test } from '@jest/globals';
import { ApplicationFailure } from '@temporalio/activity';
import { StewardError } from '#domain/errors.ts';
import { toFailure } from './run-context.ts';

const log = { warn: () => undefined };
const delayOf = (error: unknown, attempt: number) => {
  const failure = toFailure(error, log, attempt);
  expect(failure).toBeInstanceOf(ApplicationFailure);
  return (failure as ApplicationFailure).nextRetryDelay;
};

test('a provider that fails is left alone for longer each time, half a minute at most', () => {
  const failed = new StewardError('MODEL_OVERLOADED', 'Too busy.');
  expect([1, 2, 3, 7, 20].map((attempt) => delayOf(failed, attempt))).toEqual([500, 1_000, 2_000, 30_000, 30_000]);
});

test('where somebody says how long to wait, that counts; our own parts are tried as the workflow says', () => {
  const wish = new StewardError('MODEL_RATE_LIMITED', 'Later.', { details: { retryAfterMs: 1_234 } });
  expect(delayOf(wish, 5)).toBe(1_234);
  expect(delayOf(new StewardError('UNAVAILABLE', 'The guard is away.'), 5)).toBeUndefined();
});
