import { expect, test } from '@jest/globals';
import { type ChaosOptions, readOptions } from './options.ts';
import { faultsOf, figuresOf } from './report.ts';

const options = readOptions(['--runs', '1', '--kills', '1', '--seed', '3'], () => 0) as ChaosOptions;
const counted = {
  completed: 1,
  effectsExpected: 12,
  effectsFound: 12,
  duplicated: 0,
  lost: 0,
  unknown: 0,
  stuck: 0,
  contradicted: 0,
  disagreements: 0,
};
const found = {
  options,
  count: counted,
  audit: { wanted: 40, missing: 0, surplus: 0, damage: 0 },
  kills: [{ target: 'worker', pid: 1, point: null, at: 1, work: [], readyAt: 2 } as const],
  notes: [{ target: 'projects', point: 'late', what: 'x', at: 1, pid: 1, work: [] } as const],
  recoveries: Array.from({ length: 10 }, (_, index) => ({ run: 'a', backToStep: 500 * index, killToStep: 9_000 })),
  watched: [],
  crashes: [],
  mailsRepeated: 0,
  dropped: 3,
  rolls: 1,
  nonDeterminism: 0,
  seconds: 5,
};
const figures = figuresOf(found);

test('the figures are those of the contract, and all is well', () => {
  expect(figures).toMatchObject({ runs: 1, kills: 1, killsInFlight: 0, completed: 1, seed: 3, sabotage: null });
  expect(figures).toMatchObject({ recoveryMsP50: 2_000, recoveryMsP99: 4_500, killsBy: { 'worker anywhere': 1 } });
  expect(faultsOf(figures, options)).toEqual([]);
});

test.each([
  'duplicated',
  'lost',
  'stuck',
  'contradicted',
  'disagreements',
  'auditMissing',
  'auditSurplus',
  'auditDamage',
  'watchErrors',
  'crashes',
] as const)('%s above zero is a fault', (name) =>
  expect(faultsOf({ ...figures, [name]: 1 }, options)).toEqual([`${name} is 1 and must be 0`]),
);

test('runs that did not complete, kills that did not come and slow recoveries are faults', () => {
  expect(faultsOf({ ...figures, completed: 0 }, options)).toHaveLength(1);
  expect(faultsOf({ ...figures, kills: 0 }, options)).toHaveLength(1);
  expect(faultsOf({ ...figures, recoveryMsP99: 8_000 }, options)).toHaveLength(1);
  expect(faultsOf({ ...figures, recoveryMsP99: 8_000, recoveries: 9 }, options)).toEqual([]);
});

test('servers that were not killed, calls that were not late and notifications that came are faults', () => {
  expect(faultsOf({ ...figures, targets: { postgres: 1 } }, { ...options, servers: 2 })).toEqual([
    'temporal was never killed',
  ]);
  expect(faultsOf({ ...figures, late: 0 }, options)).toEqual(['no call was begun late']);
  expect(faultsOf({ ...figures, notifiesDropped: 0 }, options)).toEqual(['no notification got lost']);
});

test('with a defence switched off, finding nothing is the fault', () => {
  const sabotaged = { ...options, sabotage: 'receipts' } as const;
  expect(faultsOf(figures, sabotaged)).toHaveLength(1);
  expect(faultsOf({ ...figures, duplicated: 2, completed: 0 }, sabotaged)).toEqual([]);
});

test('runs that did not fit the next release are a fault, and what a left-out patch must show', () => {
  expect(faultsOf({ ...figures, nonDeterminism: 1 }, options)).toEqual(['nonDeterminism is 1 and must be 0']);
  const sabotaged = { ...options, sabotage: 'patched' } as const;
  expect(faultsOf({ ...figures, nonDeterminism: 1 }, sabotaged)).toEqual([]);
  expect(faultsOf(figures, sabotaged)).toHaveLength(1);
});

test('a run whose catalog held back the very call is counted apart', () => {
  const slow = (story: string) => ({ run: 'a', backToStep: 20_000, killToStep: 21_000, story });
  const late = { target: 'messaging', point: 'late', what: 'a send_email', at: 1, pid: 1, work: [] } as const;
  const of = (story: string) => figuresOf({ ...found, notes: [late], recoveries: [slow(story)] });
  expect(of('execute send_email, then tool.done')).toMatchObject({ recoveries: 0, recoveriesHeldLate: 1 });
  expect(of('model, then turn.answered')).toMatchObject({ recoveries: 1, recoveriesHeldLate: 0 });
});
