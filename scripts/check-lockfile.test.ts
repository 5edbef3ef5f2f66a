import { expect, test } from '@jest/globals';
import { checkLockfile, type LockedPackages, locate } from '#scripts/check-lockfile.ts';
import { withRepository } from '#test/support/repository.ts';

const root = { dependencies: { '@temporalio/common': '1.0.0', protobufjs: '8.0.0' } };
const good: LockedPackages = {
  '': root,
  'node_modules/@temporalio/common': { version: '1.0.0', dependencies: { protobufjs: '8.0.0' } },
  'node_modules/@temporalio/client': { version: '1.0.0', dependencies: { protobufjs: '8.0.0' } },
  'node_modules/protobufjs': { version: '8.0.0' },
  'node_modules/loader/node_modules/protobufjs': { version: '7.0.0' },
};

async function problemsOf(packages: LockedPackages, manifest: object = root): Promise<string[]> {
  let problems: string[] = [];
  const files = { 'package.json': JSON.stringify(manifest), 'package-lock.json': JSON.stringify({ packages }) };
  await withRepository(files, async (directory) => {
    problems = (await checkLockfile(directory)).problems;
  });
  return problems;
}

test('a lockfile with one shared protobufjs 8 is fine', async () => {
  expect(await problemsOf(good)).toEqual([]);
});

test('a second protobufjs 8 is found, and who uses it', async () => {
  const nested = 'node_modules/@temporalio/client/node_modules/protobufjs';
  expect(await problemsOf({ ...good, [nested]: { version: '8.1.0' } })).toEqual([
    expect.stringMatching(/^there are 2 copies of protobufjs 8/),
    expect.stringContaining(`node_modules/@temporalio/client uses ${nested}`),
  ]);
  const { 'node_modules/protobufjs': _, ...none } = good;
  expect(await problemsOf(none)).toContainEqual(expect.stringMatching(/^there are 0 copies/));
});

test('registry addresses, mixed Temporal versions and a stale lockfile are found', async () => {
  const address = { version: '1.0.0', resolved: 'https://packages.example.com/x.tgz' };
  expect(await problemsOf({ ...good, 'node_modules/x': address })).toEqual([
    expect.stringMatching(/registry address for node_modules\/x/),
  ]);
  expect(await problemsOf({ ...good, 'node_modules/@temporalio/client': { version: '1.1.0' } })).toEqual([
    expect.stringMatching(/several versions: 1\.0\.0, 1\.1\.0/),
  ]);
  expect(await problemsOf(good, { dependencies: { ...root.dependencies, pg: '8.0.0' } })).toEqual([
    expect.stringMatching(/differ about pg/),
  ]);
});

test('packages for other platforms that npm ci would miss are found', async () => {
  const tool = { version: '1.0.0', optionalDependencies: { 'tool-linux': '1.0.0', 'tool-mac': '1.0.0' } };
  const packages = { ...good, 'node_modules/tool': tool, 'node_modules/tool-linux': { version: '1.0.0' } };
  expect(await problemsOf(packages)).toEqual([expect.stringMatching(/node_modules\/tool, .*: tool-mac$/)]);
});

test('the lockfile of a package beside the root is looked at too', async () => {
  const packages = { '': {}, 'node_modules/x': { version: '1.0.0', resolved: 'https://packages.example.com/x.tgz' } };
  const files = {
    'package.json': JSON.stringify(root),
    'package-lock.json': JSON.stringify({ packages: good }),
    'bench/peers/package.json': '{ "dependencies": { "x": "1.0.0" } }',
    'bench/peers/package-lock.json': JSON.stringify({ packages }),
  };
  await withRepository(files, async (directory) => {
    expect((await checkLockfile(directory)).problems).toEqual([
      expect.stringMatching(/^bench\/peers\/package-lock\.json and its package\.json differ about x/),
      expect.stringMatching(/^bench\/peers\/package-lock\.json holds a registry address for node_modules\/x/),
    ]);
  });
});

test('a package is found as Node finds it: nearest first', () => {
  const packages: LockedPackages = {
    'node_modules/a': {},
    'node_modules/b/node_modules/a': {},
    'node_modules/@s/c': {},
  };
  expect(locate(packages, 'node_modules/b', 'a')).toBe('node_modules/b/node_modules/a');
  expect(locate(packages, 'node_modules/b/node_modules/d', 'a')).toBe('node_modules/b/node_modules/a');
  expect(locate(packages, 'node_modules/@s/c', 'a')).toBe('node_modules/a');
  expect(locate(packages, '', '@s/c')).toBe('node_modules/@s/c');
  expect(locate(packages, '', 'd')).toBeUndefined();
});
