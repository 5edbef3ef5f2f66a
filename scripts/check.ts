import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { checkBundle } from './check-bundle.ts';
import { checkDependencies } from './check-dependencies.ts';
import { checkBreaking, checkGenerated } from './check-generated.ts';
import { checkImports } from './check-imports.ts';
import { type Check, type CheckResult, commandCheck } from './check-kit.ts';
import { checkLockfile } from './check-lockfile.ts';
import { checkHistories, checkMigrations } from './check-locks.ts';
import { checkPrivacy } from './check-privacy.ts';
import { checkSize } from './check-size.ts';
import { checkTests } from './check-tests.ts';

const USAGE = `npm run check [-- [--update-locks] [name …]]

Runs every check, or those whose name contains one of the words. --update-locks lists new migrations.`;

const BIOME = ['ci', '--colors=off', '--error-on-warnings', '--diagnostic-level=warn', '--max-diagnostics=50', '.'];
const MAX_LINES = 60;

function allChecks(updateLocks: boolean): Check[] {
  return [
    { name: 'format and lint', run: (root) => commandCheck(root, 'biome', BIOME) },
    { name: 'types', run: (root) => commandCheck(root, 'tsc', ['-b', '--pretty', 'false']) },
    { name: 'import direction', run: checkImports },
    { name: 'file size', run: checkSize },
    { name: 'contract lint', run: (root) => commandCheck(root, 'buf', ['lint']) },
    { name: 'contract format', run: (root) => commandCheck(root, 'buf', ['format', '--diff', '--exit-code']) },
    { name: 'contract breaking', run: checkBreaking },
    { name: 'generated code', run: checkGenerated },
    { name: 'workflow bundle', run: checkBundle },
    { name: 'migrations', run: (root) => checkMigrations(root, updateLocks) },
    { name: 'replay corpus', run: checkHistories },
    { name: 'tests all run', run: checkTests },
    { name: 'lockfile', run: checkLockfile },
    { name: 'pins and licences', run: checkDependencies },
    { name: 'machine names', run: checkPrivacy },
  ];
}

async function runCheck(check: Check, root: string): Promise<CheckResult & { seconds: number }> {
  const started = performance.now();
  const result = await check.run(root).catch((error: unknown) => ({ problems: [`could not run: ${String(error)}`] }));
  return { ...result, seconds: (performance.now() - started) / 1000 };
}

function printIndented(lines: string[]): void {
  const shown = lines.slice(0, MAX_LINES);
  const rest = lines.length - shown.length;
  for (const line of rest > 0 ? [...shown, `… and ${rest} more lines`] : shown) console.log(`        ${line}`);
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: { 'update-locks': { type: 'boolean', default: false }, help: { type: 'boolean', default: false } },
    allowPositionals: true,
  });
  if (values.help) return console.log(USAGE);
  const checks = allChecks(values['update-locks']).filter(
    ({ name }) => positionals.length === 0 || positionals.some((word) => name.includes(word)),
  );
  if (checks.length === 0) throw new Error(`no check is called ${positionals.join(' or ')}\n${USAGE}`);
  const failed: string[] = [];
  for (const check of checks) {
    const { problems, notes, seconds } = await runCheck(check, join(import.meta.dirname, '..'));
    const verdict = problems.length === 0 ? 'ok  ' : 'FAIL';
    console.log(`${verdict}  ${check.name.padEnd(20)} ${seconds.toFixed(1).padStart(5)} s`);
    printIndented(problems);
    printIndented(notes ?? []);
    if (problems.length > 0) failed.push(check.name);
  }
  if (failed.length > 0) {
    process.exitCode = 1;
    console.log(`\nfailed: ${failed.join(', ')}`);
  }
  console.log(`${checks.length - failed.length} passed, ${failed.length} failed, 0 skipped`);
}

await main();
