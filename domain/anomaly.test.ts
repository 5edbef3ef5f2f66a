import { expect, test } from '@jest/globals';
import {
  anomaliesOf,
  anomalyText,
  type Behaviour,
  DEFAULT_ANOMALIES,
  NOTHING_WATCHED,
  type Watched,
  watch,
} from './anomaly.ts';

const usual = { runs: 20, calls: 10, costMicroUsd: 100_000, destructive: 2 };
const calm: Behaviour = { calls: 10, costMicroUsd: 100_000, askedWithinHour: null };
const call = (sig: string, more: object = {}) => ({ sig, destructive: false, unauthorised: false, ...more });
const kinds = (
  watched: Watched,
  behaviour: Behaviour,
  limits = DEFAULT_ANOMALIES,
  baseline: typeof usual | null = usual,
) => anomaliesOf(watched, behaviour, limits, baseline).map(({ kind }) => kind);

test('what an agent usually does is no anomaly', () => {
  expect(kinds(NOTHING_WATCHED, calm)).toEqual([]);
});

test.each([
  ['calls', NOTHING_WATCHED, { ...calm, calls: 49 }, { ...calm, calls: 50 }],
  ['cost', NOTHING_WATCHED, { ...calm, costMicroUsd: 1_999_999 }, { ...calm, costMicroUsd: 2_000_000 }],
  ['approvals', NOTHING_WATCHED, { ...calm, askedWithinHour: 10 }, { ...calm, askedWithinHour: 11 }],
] as const)('%s: from the limit on, not below it', (kind, watched, below, at) => {
  expect(kinds(watched, below)).toEqual([]);
  expect(kinds(watched, at)).toEqual([kind]);
});

test('destructive proposals go by the median, unauthorised ones by their number', () => {
  const many = (n: number, more: object) =>
    watch(
      NOTHING_WATCHED,
      Array.from({ length: n }, (_, at) => call(`c${at}`, more)),
    );
  expect(kinds(many(9, { destructive: true }), calm)).toEqual([]);
  expect(kinds(many(10, { destructive: true }), calm)).toEqual(['destructive']);
  expect(kinds(many(2, { unauthorised: true }), calm)).toEqual([]);
  expect(kinds(many(3, { unauthorised: true }), calm)).toEqual(['unauthorised']);
});

test('little is never unusual, and without a history only what needs none is', () => {
  const tiny = { runs: 20, calls: 1, costMicroUsd: 10, destructive: 0 };
  expect(
    kinds(
      { ...NOTHING_WATCHED, destructive: 4 },
      { ...calm, calls: 19, costMicroUsd: 49_999 },
      DEFAULT_ANOMALIES,
      tiny,
    ),
  ).toEqual([]);
  const wild = { calls: 1_000, costMicroUsd: 10_000_000, askedWithinHour: 11 };
  const watched = { ...NOTHING_WATCHED, destructive: 50, unauthorised: 3 };
  for (const baseline of [null, { ...usual, runs: 4 }]) {
    expect(kinds(watched, wild, DEFAULT_ANOMALIES, baseline)).toEqual(['unauthorised', 'approvals']);
  }
});

test('two calls in turn, eight times, are a loop; three in turn, or one, are not', () => {
  const of = (text: string) =>
    watch(
      NOTHING_WATCHED,
      [...text].map((sig) => call(sig)),
    );
  expect(kinds(of('abababa'), calm)).toEqual([]);
  expect(kinds(of('xabababab'), calm)).toEqual(['ping_pong']);
  expect(kinds(of('abcabcabc'), calm)).toEqual([]);
  expect(kinds(of('aaaaaaaa'), calm)).toEqual([]);
  expect(watch(of('ab'.repeat(50)), []).recent).toHaveLength(8);
});

test('a rule pauses a run once, and 0 switches it off', () => {
  const wild = { ...calm, calls: 500, askedWithinHour: 500 };
  expect(kinds({ ...NOTHING_WATCHED, fired: ['calls'] }, wild)).toEqual(['approvals']);
  expect(kinds(NOTHING_WATCHED, wild, { ...DEFAULT_ANOMALIES, calls: 0, approvalsPerHour: 0 })).toEqual([]);
});

test('evidence can be read', () => {
  const [found] = anomaliesOf(NOTHING_WATCHED, { ...calm, calls: 70 }, DEFAULT_ANOMALIES, usual);
  expect(found && anomalyText(found)).toBe('made 70 tool calls, where its agent usually makes 10; unusual from 50 on');
});
