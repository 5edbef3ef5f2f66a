import type { Suite } from './run-suites.ts';

/**
 * The attack, chaos and drill suites that `.ci/run` plays small, each twice: as it is, where the figure of its promise
 * must be zero, and with `--sabotage <defence>`, where it must not be. A suite prints one JSON object as the last line of
 * its stdout, and `expect` says what must stand in it. For example:
 *
 *     {
 *       name: 'chaos without receipts',
 *       command: ['npm', 'run', '-s', 'chaos', '--', '--runs', '2', '--sabotage', 'receipts', '--json'],
 *       expect: { exitCode: 1, figures: { duplicated: { min: 1 } } },
 *     }
 */
export const suites: readonly Suite[] = [];
