import { expect, test } from '@jest/globals';
import { type ErrorCode, StewardError } from '#domain/errors.ts';
import type { ConfirmDecisionResult } from '#domain/ports/run-activities.ts';
import type { GuardPort } from '#domain/ports/services.ts';
import { activityEnvironment, endOf } from '#test/support/activities.ts';
import { createConfirmDecision } from './confirm-decision.ts';

/** Asks a guard that answers so to what is signed, and to what is not. */
async function confirm(
  signed: string | undefined,
  onSigned: ErrorCode | null,
  state: ConfirmDecisionResult['state'] | ErrorCode,
) {
  const asked: (string | undefined)[] = [];
  const guard: Pick<GuardPort, 'confirmDecision'> = {
    async confirmDecision(runGrant, approval, text) {
      expect([runGrant, approval]).toEqual(['grant', 'a1']);
      asked.push(text);
      if (text !== undefined && onSigned) throw new StewardError(onSigned, 'no');
      if (state !== 'open' && state !== 'approved') throw new StewardError(state as ErrorCode, 'no');
      return { state };
    },
  };
  const confirmDecision = createConfirmDecision({
    guard: guard as GuardPort,
    runGrantOf: async () => 'grant',
    push: { onStop: () => () => undefined, epoch: () => 0 },
    log: { warn: () => undefined },
  });
  const input = { tenant: 't', run: 'r', call: '1.0', approval: 'a1', ...(signed === undefined ? {} : { signed }) };
  return { end: await endOf(activityEnvironment().run(confirmDecision, input)), asked };
}

test('what the guard has on record is passed on, a signed decision handed to it first', async () => {
  expect(await confirm(undefined, null, 'open')).toEqual({ end: { state: 'open' }, asked: [undefined] });
  expect(await confirm('signed', null, 'approved')).toEqual({ end: { state: 'approved' }, asked: ['signed'] });
});

test.each<ErrorCode>([
  'DECISION_FORGED',
  'INVALID_REQUEST',
  'NOT_PERMITTED',
  'DIGEST_MISMATCH',
  'ALREADY_DECIDED',
  'TOO_LARGE',
])('a signed text the guard refuses with %s does not count, and ends no run', async (code) => {
  expect(await confirm('junk', code, 'open')).toEqual({
    end: { state: 'open', forged: true },
    asked: ['junk', undefined],
  });
  // Somebody may have decided all the same.
  expect((await confirm('junk', code, 'approved')).end).toEqual({ state: 'approved', forged: true });
});

test('a guard that cannot be asked is asked again; an approval that is none of the run fails', async () => {
  expect((await confirm('signed', 'UNAVAILABLE', 'open')).end).toBe('retries UNAVAILABLE');
  expect((await confirm(undefined, null, 'UNAVAILABLE')).end).toBe('retries UNAVAILABLE');
  expect((await confirm(undefined, null, 'NOT_FOUND')).end).toBe('fails NOT_FOUND');
  expect((await confirm('signed', 'GRANT_INVALID', 'GRANT_INVALID')).end).toBe('fails GRANT_INVALID');
});
