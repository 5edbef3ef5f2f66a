import { testStack } from '#test/support/stack.ts';
import { readOptions, type TenantsOptions, USAGE, UsageError } from './options.ts';
import { attackTenants, type Report } from './suite.ts';

/** So many surfaces the victim's own people must have seen something at, or the attack was blind. */
const LEAST_SEEN = 15;

/** Whether one tenant gets at another's things: figures of this run. */
async function main(): Promise<number> {
  const options = read();
  if (options === null) return 0;
  if (typeof options === 'number') return options;
  const began = performance.now();
  const say = (line: string) => {
    const seconds = ((performance.now() - began) / 1_000).toFixed(1).padStart(6);
    process.stderr.write(`${seconds} s  ${line}\n`);
  };
  const test = await testStack();
  try {
    const { report, holes } = await attackTenants(test, { sabotage: options.sabotage, say });
    const { surfaces, attempts, leaks, seen } = report;
    const figures = {
      surfaces: surfaces.length,
      tried: attempts.length,
      leaks: leaks.length,
      unforcedTables: holes.filter(({ what }) => what === 'table').length,
      otherHoles: holes.filter(({ what }) => what !== 'table').length,
      ownersSaw: seen.length,
      seconds: Math.round((performance.now() - began) / 1_000),
      ...(options.sabotage === null ? {} : { sabotage: options.sabotage }),
    };
    (options.json ? process.stderr : process.stdout).write(`${table(report).join('\n')}\n`);
    process.stdout.write(`${JSON.stringify(figures)}\n`);
    if (seen.length < LEAST_SEEN) {
      say(`only ${seen.length} surfaces showed the victim's things to its own people: the attack was blind`);
      return 1;
    }
    const found = figures.leaks + figures.unforcedTables + figures.otherHoles;
    return (options.sabotage === null ? found === 0 : figures.leaks > 0 && figures.unforcedTables > 0) ? 0 : 1;
  } finally {
    await test.stop();
  }
}

function table(report: Report): string[] {
  const kinds = [
    ['RPCs', /^steward\.\w+\.v\d/],
    ['tools', /\//],
    ['tables', /./],
  ] as const;
  const left = new Set(report.surfaces);
  const lines = ['', `  ${'what'.padEnd(10)} ${'surfaces'.padStart(9)} ${'tried'.padStart(7)} ${'leaks'.padStart(7)}`];
  for (const [name, pattern] of kinds) {
    const own = [...left].filter((surface) => pattern.test(surface));
    for (const surface of own) left.delete(surface);
    const tried = report.attempts.filter(({ surface }) => own.includes(surface));
    const leaks = tried.filter(({ leak }) => leak !== null).length;
    const cells = [String(own.length).padStart(9), String(tried.length).padStart(7), String(leaks).padStart(7)];
    lines.push(`  ${name.padEnd(10)} ${cells.join(' ')}`);
  }
  lines.push('', `  its own people saw the victim's things at ${report.seen.length} of these; not at:`);
  return [...lines, ...report.unseen.map((line) => `    ${line}`)];
}

function read(): TenantsOptions | null | number {
  try {
    const options = readOptions(process.argv.slice(2));
    if (options === null) process.stdout.write(`${USAGE}\n`);
    return options;
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    process.stderr.write(`${error.message}\n\n${USAGE}\n`);
    return 2;
  }
}

process.exit(await main());
