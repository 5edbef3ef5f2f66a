import { expect, test } from '@jest/globals';
import { checkTests } from '#scripts/check-tests.ts';
import { withRepository } from '#test/support/repository.ts';

test('a test that is left out is found wherever tests are, but for the skip helper', async () => {
  const files = {
    'domain/run.test.ts': `import { test } from '@jest/globals';\ntest.only('a', () => {});\n`,
    'domain/run.ts': 'export const pick = (it: { skip: () => void }) => it.skip();\n',
    'test/scenarios/crash.test.tsx': `describe.skip('a', () => <b />);\n`,
    'test/support/shared.ts': `export const f = () => test.todo('a');\n`,
    'test/support/skip.ts': `export const g = () => test.skip('a', () => {});\n`,
  };
  await withRepository(files, async (root) => {
    expect((await checkTests(root)).problems).toEqual([
      expect.stringMatching(/^domain\/run\.test\.ts:2 uses test\.only;/),
      expect.stringMatching(/^test\/scenarios\/crash\.test\.tsx:1 uses describe\.skip;/),
      expect.stringMatching(/^test\/support\/shared\.ts:1 uses test\.todo;/),
    ]);
  });
});
