import { expect, test } from '@jest/globals';
import { judgeRisk, mayDecide } from './verdict.ts';

test.each([
  ['safe', 'allow'],
  ['cautious', 'allow'],
  ['destructive', 'ask'],
  ['irreversible', 'ask'],
] as const)('a %s tool: %s', (risk, kind) => {
  const verdict = judgeRisk({ name: 'it', risk });
  expect(verdict).toMatchObject({ kind, why: [expect.stringContaining(`risk.${risk}: it`)] });
  if (verdict.kind === 'ask') expect(verdict.tier).toBe(3);
});

const person = (subject: string, roles: string[], onBehalfOf: string | null = null) => ({ subject, roles, onBehalfOf });

test.each([
  ['an approver', person('bob', ['approver']), true, true],
  ['an approver where users may not confirm', person('bob', ['approver']), false, true],
  ['the acting user', person('ann', ['user']), true, true],
  ['the acting user where users may not confirm', person('ann', ['user']), false, false],
  [
    'the acting user who is an approver as well, where users may not confirm',
    person('ann', ['approver']),
    false,
    false,
  ],
  ['another user', person('bob', ['user']), true, false],
  ['an operator', person('bob', ['operator', 'admin', 'auditor']), true, false],
  ['nobody in particular', person('bob', []), true, false],
  ['the service that started the run', person('shop', ['service']), true, false],
  ['a service that is an approver too', person('shop', ['service', 'approver']), true, false],
  ['a worker that is an approver too', person('w', ['worker', 'approver']), true, false],
  ['a service on behalf of the acting user', person('ann', ['user'], 'ann'), true, false],
  ['a service on behalf of an approver', person('bob', ['approver'], 'bob'), true, false],
])('%s may decide where users may confirm is %s: %s', (_, who, usersMayConfirm, may) => {
  expect(mayDecide(who, { actingUser: 'ann' }, usersMayConfirm as boolean)).toBe(may);
});
