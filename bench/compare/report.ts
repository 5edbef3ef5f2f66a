import { availableParallelism } from 'node:os';
import { CROWD } from '../crowd.ts';
import { columns, median, rounded } from '../figures.ts';
import { totalOf } from './bytes.ts';
import { type Compared, type MeasuredPeer, TURNS } from './measure.ts';
import type { CompareOptions } from './options.ts';

/** What stands in the last line of `--json`. What was not measured is null. */
export interface CompareFigures {
  readonly peers: Readonly<Record<string, PeerFigures>>;
  /** Why a peer has no figures. */
  readonly skipped: Readonly<Record<string, string>>;
  readonly temporalServer: string;
  readonly temporalStore: string;
  readonly postgres: string;
  readonly rounds: number;
  readonly cores: number;
  readonly seed: number;
}

interface PeerFigures {
  readonly version: string;
  readonly msPerTurn: number | null;
  readonly turnsPerSecond50: number | null;
  /** Written durably by a run of a hundred turns, all stores together. */
  readonly bytesPer100Turns: number | null;
  readonly bytes: MeasuredPeer['bytes'];
  readonly counted: string;
}

/** Puts the figures together: medians over the rounds, bytes of one run. */
export function figuresOf(compared: Compared, options: CompareOptions): CompareFigures {
  return {
    peers: Object.fromEntries(
      compared.peers.map(({ contender, version, msPerTurn, turnsPerSecond, bytes }) => [
        contender.name,
        {
          version,
          msPerTurn: rounded(median(msPerTurn)),
          turnsPerSecond50: rounded(median(turnsPerSecond)),
          bytesPer100Turns: totalOf(bytes),
          bytes,
          counted: contender.counted,
        },
      ]),
    ),
    skipped: Object.fromEntries(compared.skipped),
    temporalServer: compared.temporal.server,
    temporalStore: compared.temporal.store,
    postgres: compared.postgres,
    rounds: options.rounds,
    cores: availableParallelism(),
    seed: options.seed,
  };
}

/** The figures for people. */
export function report(figures: CompareFigures, compared: Compared, options: CompareOptions): readonly string[] {
  const rows = compared.peers.map(({ contender }) => {
    const of = figures.peers[contender.name];
    return [
      contender.name,
      text(of?.msPerTurn),
      text(of?.turnsPerSecond50),
      text(of?.bytesPer100Turns),
      text(of?.bytes.postgresLog),
      text(of?.bytes.temporalHistory || null),
      text(of?.bytes.restateLog || null),
    ];
  });
  return [
    '',
    `Temporal ${figures.temporalServer} on ${figures.temporalStore}, Postgres ${figures.postgres}, ` +
      `${figures.cores} cores, ${figures.rounds} rounds, seed ${figures.seed}`,
    '',
    ...columns([
      ['', 'ms a turn', 'turns a second', 'bytes', 'log of', 'history in', 'log of'],
      [`${TURNS} turns, one call each`, '', `of ${CROWD} at once`, 'in all', 'Postgres', 'Temporal', 'Restate'],
      ...rows,
    ]),
    '',
    `Fifty at once are runs of ${options.crowdTurns} turns. Bytes are those of one run; without page images of Postgres.`,
    '',
    ...compared.peers.flatMap(({ contender, version }) => [
      `${contender.name} ${version}`,
      `  ${contender.what}`,
      `  counted: ${contender.counted}`,
      ...(contender.without === '' ? [] : [`  without: ${contender.without}`]),
    ]),
    ...[...compared.skipped].map(([name, reason]) => `${name} is left out: ${reason}`),
    '',
  ];
}

const text = (value: number | null | undefined): string =>
  value === null || value === undefined ? '-' : String(value);
