import { expect, test } from '@jest/globals';
import { ERRORS, type ErrorCode, StewardError } from '#domain/errors.ts';
import { EXIT, EXIT_HELP, exitCodeOf } from './exit-codes.ts';

const codeOf = (code: ErrorCode): number => exitCodeOf(new StewardError(code, ''));

test('every error of Steward has an exit code, and the documented ones are these', () => {
  for (const code of Object.keys(ERRORS) as ErrorCode[]) expect(Object.values(EXIT)).toContain(codeOf(code));
  expect(codeOf('INVALID_REQUEST')).toBe(2);
  expect(codeOf('TOO_LARGE')).toBe(2);
  expect(codeOf('NOT_FOUND')).toBe(3);
  expect(codeOf('AGENT_UNKNOWN')).toBe(3);
  expect(codeOf('TOKEN_EXPIRED')).toBe(4);
  expect(codeOf('ROLE_MISSING')).toBe(4);
  expect(codeOf('BUDGET_EXCEEDED')).toBe(4);
  expect(codeOf('KILLED')).toBe(4);
  expect(codeOf('UNAVAILABLE')).toBe(5);
  expect(codeOf('DEADLINE')).toBe(5);
  expect(codeOf('ALREADY_DECIDED')).toBe(6);
  expect(codeOf('REQUEST_ID_REUSED')).toBe(6);
  expect(codeOf('APPROVAL_EXPIRED')).toBe(6);
  expect(codeOf('INTERNAL')).toBe(70);
  expect(exitCodeOf(new Error('a bug'))).toBe(70);
});

test('help names every exit code', () => {
  for (const code of Object.values(EXIT)) expect(EXIT_HELP).toMatch(new RegExp(`^ {2}${code} `, 'm'));
});
