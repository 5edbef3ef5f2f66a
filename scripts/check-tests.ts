import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CheckResult, isHandWritten, listFiles } from './check-kit.ts';
import { testModifiersOf } from './source.ts';

/** The one place that may skip a test: it states the reason, and the reporter counts it. */
const SKIP_HELPER = 'test/support/skip.ts';

/** No test is skipped, singled out or postponed but through the skip helper. */
export async function checkTests(root: string): Promise<CheckResult> {
  const files = (await listFiles(root)).filter(
    (file) => (/\.test\.tsx?$/.test(file) || file.startsWith('test/')) && isHandWritten(file) && file !== SKIP_HELPER,
  );
  const problems = files.flatMap((file) =>
    testModifiersOf(file, readFileSync(join(root, file), 'utf8')).map(
      ({ text, line }) => `${file}:${line} uses ${text}; run it, or give skipUnless in ${SKIP_HELPER} the reason`,
    ),
  );
  return { problems };
}
