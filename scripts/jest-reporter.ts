const SKIP_TITLE = /^(?<name>.*) \[skipped: (?<reason>.*)\]$/s;

/** True counts of one test run. A test file that cannot be loaded at all counts as one failure. */
export interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

/** The part of jest's aggregated result that is read here. */
export interface RunResult {
  numPassedTests: number;
  numFailedTests: number;
  numPendingTests: number;
  numTodoTests: number;
  numRuntimeErrorTestSuites: number;
}

interface FileResult {
  testResults: readonly { status: string; fullName: string }[];
}

/** Adds up a run's results, suites that never got to a test included. */
export function countsOf(results: RunResult): Counts {
  return {
    passed: results.numPassedTests,
    failed: results.numFailedTests + results.numRuntimeErrorTestSuites,
    skipped: results.numPendingTests + results.numTodoTests,
  };
}

/** The last line of `npm test` and of `.ci/run`. */
export function formatCounts(counts: Counts): string {
  return `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`;
}

/** What to print for one skipped test, by its full name as jest reports it. */
export function describeSkip(fullName: string): string {
  const groups = SKIP_TITLE.exec(fullName)?.groups;
  return groups === undefined ? `SKIPPED ${fullName}: no reason given` : `SKIPPED ${groups.name}: ${groups.reason}`;
}

/** Prints why tests were skipped and, as the very last line of the process, the counts. */
export default class CountsReporter {
  readonly #skips: string[] = [];
  readonly #filtered: boolean;

  constructor(globalConfig: { testNamePattern?: string }) {
    // With `-t` jest calls everything outside the selection pending; that is no skip worth a line.
    this.#filtered = Boolean(globalConfig.testNamePattern);
  }

  onTestResult(_test: unknown, result: FileResult): void {
    for (const assertion of result.testResults) {
      if (assertion.status !== 'pending') continue;
      const line = describeSkip(assertion.fullName);
      if (!this.#filtered || SKIP_TITLE.test(assertion.fullName)) this.#skips.push(line);
    }
  }

  onRunComplete(_contexts: unknown, results: RunResult): void {
    // On exit, because jest itself still writes after the reporters have finished.
    process.once('exit', () => {
      const lines = [...this.#skips, formatCounts(countsOf(results))];
      process.stdout.write(`\n${lines.join('\n')}\n`);
    });
  }
}
