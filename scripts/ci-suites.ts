import type { Suite } from './run-suites.ts';

const chaos = ['npm', 'run', '-s', 'chaos', '--', '--minutes', '3', '--json'] as const;
const drill = ['npm', 'run', '-s', 'drill', '--', '--json', '--seed', '7'] as const;

const AUDIT_SABOTAGE = [
  'npm',
  'run',
  '-s',
  'attack:audit',
  '--',
  '--json',
  '--kills',
  '0',
  '--calls',
  '1',
  '--entries',
  '200',
  '--sabotage',
] as const;

/**
 * The attack, chaos and drill suites that `.ci/run` plays small, each twice: as it is, where the figure of its promise
 * must be zero, and with `--sabotage <defence>`, where it must not be. A suite prints one JSON object as the last line of
 * its stdout, and `expect` says what must stand in it.
 */
export const suites: readonly Suite[] = [
  {
    name: 'chaos: effects happen once while processes are killed',
    command: [...chaos, '--runs', '6', '--kills', '8', '--servers', '2'],
    expect: {
      exitCode: 0,
      figures: {
        kills: 8,
        'targets.postgres': 1,
        'targets.temporal': 1,
        completed: 6,
        effectsFound: 72,
        duplicated: 0,
        lost: 0,
        stuck: 0,
        rolls: 1,
        nonDeterminism: 0,
        auditMissing: 0,
        auditDamage: 0,
      },
    },
    minutes: 5,
  },
  {
    name: 'chaos without receipts must find duplicates',
    command: [...chaos, '--runs', '3', '--kills', '2', '--late', '0', '--sabotage', 'receipts'],
    expect: { exitCode: 0, figures: { kills: 2, duplicated: { min: 1 } } },
  },
  {
    name: 'chaos without Resolve must find duplicates',
    command: [...chaos, '--runs', '3', '--kills', '2', '--late', '0', '--sabotage', 'resolve'],
    expect: { exitCode: 0, figures: { kills: 2, duplicated: { min: 1 } } },
  },
  {
    name: 'chaos without the patch must find runs that do not fit the next release',
    command: [
      'npm',
      'run',
      '-s',
      'chaos',
      '--',
      '--minutes',
      '1',
      '--json',
      '--runs',
      '3',
      '--kills',
      '0',
      '--late',
      '0',
      '--sabotage',
      'patched',
    ],
    expect: { exitCode: 0, figures: { nonDeterminism: { min: 1 } } },
  },
  {
    name: 'retail: recorded requests leave what was recorded, while processes are killed',
    command: ['npm', 'run', '-s', 'retail', '--', '--json', '--chaos', '--kills', '4', '--tasks', '10'],
    expect: {
      exitCode: 0,
      figures: { tasks: 10, statesEqual: 10, actions: 71, returnsEqual: 71, effectsDuplicated: 0, kills: { min: 4 } },
    },
    maySkip: true,
  },
  {
    name: 'retail without receipts must find duplicates',
    command: ['npm', 'run', '-s', 'retail', '--', '--json', '--chaos', '--kills', '2', '--sabotage', 'receipts'],
    expect: { exitCode: 0, figures: { effectsDuplicated: { min: 1 } } },
    maySkip: true,
  },
  {
    name: 'providers: both adapters keep the contract, and runs go over to the fallback and back',
    command: ['npm', 'run', '-s', 'providers', '--', '--json'],
    expect: { exitCode: 0, figures: { behaviours: 30, anthropic: 30, openai: 30, fallbacks: 7, 'failed.length': 0 } },
  },
  {
    name: 'providers without fallbacks must find runs that fail',
    command: ['npm', 'run', '-s', 'providers', '--', '--json', '--sabotage', 'fallback'],
    expect: { exitCode: 0, figures: { anthropic: 30, openai: 30, 'failed.length': { min: 4 } } },
  },
  {
    name: 'tenants: nothing of one gets to another, or to people without rights',
    command: ['npm', 'run', '-s', 'attack:tenants', '--', '--json'],
    expect: {
      exitCode: 0,
      figures: { surfaces: { min: 60 }, leaks: 0, unforcedTables: 0, otherHoles: 0, ownersSaw: { min: 20 } },
    },
  },
  {
    name: 'tenants without row-level security must find leaks',
    command: ['npm', 'run', '-s', 'attack:tenants', '--', '--json', '--sabotage', 'rls'],
    expect: { exitCode: 0, figures: { leaks: { min: 1 }, unforcedTables: { min: 1 } } },
  },
  {
    name: 'faults: nothing has an effect while what decides is away or lies, and all goes on after',
    command: [
      'npm',
      'run',
      '-s',
      'attack:fault',
      '--',
      '--json',
      '--hold',
      '1500',
      '--faults',
      'ledger-unreachable,guard-down,approvals-unreadable,projects-keys-lie,database-down',
    ],
    expect: { exitCode: 0, figures: { faults: 5, allowedUnderFault: 0, recovered: 5 } },
  },
  {
    name: 'faults with a guard that lets pass what it cannot read must find effects',
    command: [
      'npm',
      'run',
      '-s',
      'attack:fault',
      '--',
      '--json',
      '--faults',
      'approvals-unreadable',
      '--sabotage',
      'closed',
    ],
    expect: { exitCode: 0, figures: { allowedUnderFault: { min: 1 } } },
  },
  {
    name: 'budget: no call is admitted past any level, whatever races and dies',
    command: ['npm', 'run', '-s', 'attack:budget', '--', '--json', '--runs', '16', '--turns', '2', '--kills', '2'],
    expect: {
      exitCode: 0,
      figures: {
        ledgers: 4,
        admittedPastLimit: 0,
        releasedLeaks: 0,
        stuckReservations: 0,
        refused: { min: 4 },
        overageMicroUsd: { min: 1 },
        kills: { min: 4 },
      },
    },
  },
  {
    name: 'budget without reservations must find admissions past the limit',
    command: [
      'npm',
      'run',
      '-s',
      'attack:budget',
      '--',
      '--json',
      '--runs',
      '16',
      '--turns',
      '2',
      '--kills',
      '2',
      '--sabotage',
      'reservation',
    ],
    expect: { exitCode: 0, figures: { admittedPastLimit: { min: 1 } } },
  },
  {
    name: 'drill: a kill stops runs in every phase, and nothing takes effect after it',
    command: [...drill, '--runs', '16'],
    expect: {
      exitCode: 0,
      figures: { runs: { min: 16 }, stopMsP99: { max: 1_999 }, effectsAfterStop: 0, stragglers: 0, stuck: 0 },
    },
  },
  {
    name: 'drill with workers that are not told must find effects after the stop',
    command: [...drill, '--runs', '16', '--sabotage', 'push'],
    expect: { exitCode: 0, figures: { effectsAfterStop: { min: 1 } } },
  },
  {
    name: 'drill with a guard that sees no switch must find effects after the stop',
    command: [...drill, '--runs', '16', '--sabotage', 'guard'],
    expect: { exitCode: 0, figures: { effectsAfterStop: { min: 1 } } },
  },
  {
    name: 'audit: every way to tamper is found and named, and crashes leave no gaps',
    command: ['npm', 'run', '-s', 'attack:audit', '--', '--json', '--entries', '5000'],
    expect: {
      exitCode: 0,
      figures: { classes: 7, found: 7, missed: 0, missingEventsUnderCrash: 0, kills: { min: 6 } },
    },
  },
  {
    name: 'audit without links must miss something',
    command: [...AUDIT_SABOTAGE, 'chain'],
    expect: { exitCode: 0, figures: { missed: { min: 1 } } },
  },
  {
    name: 'audit without anchors must miss something',
    command: [...AUDIT_SABOTAGE, 'anchor'],
    expect: { exitCode: 0, figures: { missed: { min: 2 } } },
  },
  {
    name: 'limits: racing runs never go beyond a window, and are not refused what fits',
    command: ['npm', 'run', '-s', 'attack:limits', '--', '--json', '--runs', '12'],
    expect: { exitCode: 0, figures: { attempts: { min: 300 }, overshoot: 0, wronglyRefused: 0 } },
  },
  {
    name: 'limits that forget what is reserved must be overshot',
    command: ['npm', 'run', '-s', 'attack:limits', '--', '--json', '--runs', '12', '--sabotage', 'windows'],
    expect: { exitCode: 0, figures: { overshoot: { min: 1 } } },
  },
];
