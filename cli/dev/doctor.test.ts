import { expect, test } from '@jest/globals';
import { type Look, PLAIN } from '../render/look.ts';
import { findingLines } from './doctor.ts';

const look: Look = { paint: PLAIN, width: 50, now: 0 };

test('what is missing stands out, with how to get it', () => {
  const lines = findingLines(
    [
      { name: 'node', ok: true, detail: 'v24.21.0', fix: '' },
      {
        name: 'temporal',
        ok: false,
        detail: 'not on the PATH\u001b[2J',
        fix: 'Install the Temporal CLI, or set an address.',
      },
    ],
    look,
  );
  expect(lines).toEqual([
    '✓ node      v24.21.0',
    '✗ temporal  not on the PATH␛[2J',
    '            Install the Temporal CLI, or set an ',
    '            address.',
    '',
    '1 of 2 need attention.',
  ]);
});

test('nothing missing is said', () => {
  expect(findingLines([{ name: 'node', ok: true, detail: 'v24', fix: '' }], look).at(-1)).toBe('Nothing is missing.');
});
