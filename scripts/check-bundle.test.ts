import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { checkBundle, foreignPackages } from '#scripts/check-bundle.ts';
import { addFiles } from '#test/support/repository.ts';

const cache = join(import.meta.dirname, '..', '.cache');

/** Checks a tree inside the repository, so that the SDK is found. */
async function check(files: Record<string, string>): Promise<Awaited<ReturnType<typeof checkBundle>>> {
  mkdirSync(cache, { recursive: true });
  const root = mkdtempSync(join(cache, 'bundle-'));
  try {
    addFiles(root, files);
    return await checkBundle(root);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

const manifest = { 'package.json': '{ "type": "module", "imports": { "#domain/*": "./domain/*" } }' };

test('a workflow of domain and the SDK bundles, with # names', async () => {
  const result = await check({
    ...manifest,
    'domain/run.ts': `export const pause = (): string => '1 s';\n`,
    'workflows/index.ts': `import { sleep } from '@temporalio/workflow';
      import { pause } from '#domain/run.ts';
      export const run = async (): Promise<void> => { await sleep(pause()); };`,
  });
  expect(result).toEqual({ problems: [], notes: [expect.stringMatching(/^bundle of \d+ KiB$/)] });
});

test('a package that has no business in a replay is named', async () => {
  const result = await check({
    ...manifest,
    'workflows/index.ts': `import { z } from 'zod';\nexport const run = async (): Promise<unknown> => z.string().parse('a');`,
  });
  expect(result.problems).toEqual([expect.stringMatching(/^the workflow bundle contains zod;/)]);
});

test('a bundle that does not build is a problem with its cause', async () => {
  const result = await check({
    ...manifest,
    'workflows/index.ts': `import { readFileSync } from 'node:fs';\nexport const run = async () => readFileSync('a');`,
  });
  expect(result.problems.join('\n')).toMatch(/does not build.*fs/s);
});

test('nothing to bundle is said, not failed', async () => {
  expect(await check(manifest)).toEqual({ problems: [], notes: ['workflows/index.ts does not exist yet'] });
});

test('the package nearest to a module counts', () => {
  const code = `"./node_modules/@temporalio/workflow/node_modules/pg/lib/index.js": f, "./node_modules/long/index.js": g`;
  expect(foreignPackages(code)).toEqual(['pg']);
});
