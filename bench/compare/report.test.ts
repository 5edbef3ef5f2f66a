import { expect, test } from '@jest/globals';
import { CONTENDERS, type ContenderName } from './contenders.ts';
import type { Compared, MeasuredPeer } from './measure.ts';
import { figuresOf, report } from './report.ts';

const options = { json: true, only: [], rounds: 2, crowdTurns: 10, seed: 1 };

function peer(name: ContenderName, bytes: MeasuredPeer['bytes']): MeasuredPeer {
  const contender = CONTENDERS.find((each) => each.name === name);
  if (contender === undefined) throw new Error(name);
  return { contender, version: '1.2.3', msPerTurn: [3, 1, 2.04], turnsPerSecond: [100, 50], bytes };
}

const compared: Compared = {
  peers: [
    peer('steward', { postgresLog: 1_000, temporalHistory: 200, restateLog: 0 }),
    peer('restate', { postgresLog: null, temporalHistory: 0, restateLog: 30 }),
  ],
  skipped: new Map([['dbos', 'it is not installed']]),
  temporal: { store: 'sqlite', server: '1.29.1' },
  postgres: '18.4',
};

test('figures are medians, and bytes are known where all their parts are', () => {
  const { peers, skipped } = figuresOf(compared, options);
  expect(peers.steward).toMatchObject({ msPerTurn: 2, turnsPerSecond50: 75, bytesPer100Turns: 1_200 });
  expect(peers.restate).toMatchObject({ version: '1.2.3', bytesPer100Turns: null });
  expect(peers).not.toHaveProperty('dbos');
  expect(skipped).toEqual({ dbos: 'it is not installed' });
});

test('people read what is counted, and why a peer has no figures', () => {
  const text = report(figuresOf(compared, options), compared, options).join('\n');
  expect(text).toMatch(/^steward +2 +75 +1200 +1000 +200 +-$/m);
  expect(text).toMatch(/^restate +2 +75 +- +- +- +30$/m);
  expect(text).toContain("counted: the log of Restate's log server + Postgres's log (effects)");
  expect(text).toContain('dbos is left out: it is not installed');
});
