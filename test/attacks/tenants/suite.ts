import type { TestStack } from '#test/support/stack.ts';
import { type Hole, lint } from './lint.ts';
import { attackRpcs } from './rpc-surfaces.ts';
import { attackTables } from './table-surfaces.ts';
import { attackTools } from './tool-surfaces.ts';
import { makeVictim } from './victim.ts';
import { Wire } from './wire.ts';

/** One thing that was tried. `leak` says what came of it; null: nothing. */
export interface Attempt {
  readonly surface: string;
  readonly as: string;
  readonly leak: string | null;
}

/** What the attack has tried and found. */
export class Report {
  readonly attempts: Attempt[] = [];
  /** Surfaces at which the victim's own people saw its things by the same request, and those at which they did not. */
  readonly seen: string[] = [];
  readonly unseen: string[] = [];
  readonly #onLeak: (attempt: Attempt) => void;

  constructor(onLeak: (attempt: Attempt) => void) {
    this.#onLeak = onLeak;
  }

  add(attempt: Attempt): void {
    this.attempts.push(attempt);
    if (attempt.leak !== null) this.#onLeak(attempt);
  }

  compared(surface: string, seen: boolean, text: string): void {
    if (seen) this.seen.push(surface);
    else this.unseen.push(`${surface}: ${text.slice(0, 200)}`);
  }

  get surfaces(): readonly string[] {
    return [...new Set(this.attempts.map(({ surface }) => surface))];
  }

  get leaks(): readonly Attempt[] {
    return this.attempts.filter(({ leak }) => leak !== null);
  }
}

/** Plays the whole attack on a fresh stack. */
export async function attackTenants(
  test: TestStack,
  options: { readonly sabotage: 'rls' | null; readonly say: (line: string) => void },
): Promise<{ readonly report: Report; readonly holes: readonly Hole[] }> {
  const { say } = options;
  const report = new Report(({ surface, as, leak }) => say(`LEAK  ${surface} as ${as}: ${leak}`));
  const victim = await makeVictim(test);
  say(`the victim is there: runs ${victim.runs.join(', ')}`);
  if (options.sabotage === 'rls') await withoutRowSecurity(test);
  const holes = await lint(test.query);
  for (const { what, name, why } of holes) say(`HOLE  ${what} ${name}: ${why}`);
  const wire = new Wire();
  try {
    await attackTables(test, victim, report);
    say(`${report.attempts.length} tries at tables`);
    await attackRpcs(test, victim, wire, report);
    say(`${report.attempts.length} tries with RPCs`);
    await attackTools(test, victim, wire, report);
    say(`${report.attempts.length} tries with tools`);
  } finally {
    wire.close();
  }
  return { report, holes };
}

async function withoutRowSecurity(test: TestStack): Promise<void> {
  const tables = await test.query<{ name: string }>(
    `select c.oid::regclass::text as name from pg_class c where c.relkind = 'r' and c.relrowsecurity`,
  );
  for (const { name } of tables) await test.query(`alter table ${name} disable row level security`);
}
