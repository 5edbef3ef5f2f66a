import { expect, test } from '@jest/globals';
import type { BegunCall } from '#domain/ports/services.ts';
import { BegunCalls } from './begun-calls.ts';

const call = (callId: string): BegunCall => ({
  callId,
  tool: 't',
  digest: `d${callId}`,
  timeoutMs: 5_000,
  hasEffect: true,
  leave: { actionRecord: new Uint8Array(), catalog: 'desk', executionGrants: ['g'], attempt: 1 },
});

test('a begun call is handed out once, for the call that was judged, and not when it is old', () => {
  let now = 0;
  const calls = new BegunCalls(() => now);
  calls.put('r', 'grant', [call('1.0'), call('1.1'), call('1.2')]);
  expect(calls.take('r', '1.0', 'd1.0')).toMatchObject({ callId: '1.0', runGrant: 'grant' });
  expect(calls.take('r', '1.0', 'd1.0')).toBeUndefined();
  expect(calls.take('r', '1.1', 'another')).toBeUndefined();
  expect(calls.take('r', '1.1', 'd1.1')).toBeUndefined();
  expect(calls.take('other', '1.2', 'd1.2')).toBeUndefined();
  now = 2_001;
  expect(calls.take('r', '1.2', 'd1.2')).toBeUndefined();
  calls.put('r', 'grant', [call('1.3')]);
  expect(calls.take('r', '1.3', 'd1.3')).toBeDefined();
});
