import { test } from '@jest/globals';

/** The part of `test` that {@link skipUnless} hands out. */
export type TestRegistrar = (name: string, body: () => void | Promise<void>, timeoutMs?: number) => void;

/**
 * Registers a test that can only run where `condition` holds, for example
 * `skipUnless('needs Go 1.26 on the PATH', hasGo)('builds the server', async () => { … })`.
 * Where it does not hold, the test is counted as skipped and the reporter prints `SKIPPED <name>: <reason>`.
 * It is the only way to skip a test: `npm run check` refuses every other.
 */
export function skipUnless(reason: string, condition: boolean): TestRegistrar {
  if (condition) return (name, body, timeoutMs) => test(name, body, timeoutMs);
  return (name, body) => test.skip(`${name} [skipped: ${reason}]`, body);
}
