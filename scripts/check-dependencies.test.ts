import { expect, test } from '@jest/globals';
import { checkDependencies, isPermissive, licenceOf, licenceProblem, unpinned } from '#scripts/check-dependencies.ts';
import { withRepository } from '#test/support/repository.ts';

test.each(['1.2.3', '18.4.0-beta.17'])('%s is one version', (version) => {
  expect(unpinned({ dependencies: { a: version } }, 'package.json')).toEqual([]);
});

test.each([
  '^1.2.3',
  '~1.2.3',
  '1.x',
  '*',
  'latest',
  '>=1',
  '1.2.3 || 2.0.0',
  'git+https://example.com/a.git',
  'file:../a',
])('%s is no pin', (version) => {
  expect(unpinned({ devDependencies: { a: version } }, 'package.json')).toHaveLength(1);
});

test.each(['MIT', '(MIT OR GPL-3.0)', 'Apache-2.0 AND MIT', '(BSD-3-Clause AND Apache-2.0)', 'GPL-2.0 OR ISC'])(
  '%s is permissive',
  (licence) => {
    expect(isPermissive(licence)).toBe(true);
  },
);

test.each([
  'GPL-3.0',
  'MIT AND GPL-3.0',
  'SEE LICENSE IN x',
  'none stated',
  '',
  '(MIT AND (GPL-3.0 OR LGPL-2.0))',
  'UNLICENSED',
])('"%s" is not permissive', (licence) => {
  expect(isPermissive(licence)).toBe(false);
});

test('older ways to state a licence are read', () => {
  expect(licenceOf({ license: { type: 'MIT' } })).toBe('MIT');
  expect(licenceOf({ licenses: [{ type: 'MIT' }, { type: 'Apache-2.0' }] })).toBe('MIT OR Apache-2.0');
  expect(licenceOf({})).toBe('none stated');
});

test('an exception holds for the licence it was made for only', () => {
  expect(licenceProblem('caniuse-lite', 'CC-BY-4.0')).toBeUndefined();
  expect(licenceProblem('caniuse-lite', 'GPL-3.0')).toMatch(/GPL-3\.0/);
  expect(licenceProblem('other', 'CC-BY-4.0')).toMatch(/CC-BY-4\.0/);
});

test('what is installed counts, not what the lockfile remembers; every package.json is read', async () => {
  const packages = {
    '': {},
    'node_modules/a': { version: '1.0.0', license: 'MIT' },
    'node_modules/b/node_modules/@s/c': { version: '1.0.0', license: 'GPL-3.0' },
  };
  const files = {
    '.gitignore': 'node_modules/\n',
    'package.json': '{ "dependencies": { "a": "1.0.0" } }',
    'bench/peers/package.json': '{ "dependencies": { "d": "^2.0.0" } }',
    'package-lock.json': JSON.stringify({ packages }),
    'node_modules/a/package.json': '{ "name": "a", "license": "SSPL-1.0" }',
  };
  await withRepository(files, async (root) => {
    expect((await checkDependencies(root)).problems).toEqual([
      expect.stringMatching(/^bench\/peers\/package\.json asks for d \^2\.0\.0/),
      expect.stringMatching(/^a has the licence SSPL-1\.0/),
      expect.stringMatching(/^@s\/c has the licence GPL-3\.0/),
    ]);
  });
});

test('a package beside the root is looked at too; what may stand there only may stand nowhere else', async () => {
  const server = { 'node_modules/@restatedev/restate-server': { version: '1.0.0', license: 'BSL' } };
  const lock = (packages: object) => JSON.stringify({ packages: { '': {}, ...packages } });
  const files = {
    'package.json': '{}',
    'package-lock.json': lock(server),
    'bench/peers/package.json': '{}',
    'bench/peers/package-lock.json': lock({ ...server, 'node_modules/x': { version: '1.0.0', license: 'AGPL-3.0' } }),
  };
  await withRepository(files, async (root) => {
    expect((await checkDependencies(root)).problems).toEqual([
      expect.stringMatching(/^x has the licence AGPL-3\.0/),
      expect.stringMatching(/^@restatedev\/restate-server has the licence BSL/),
    ]);
  });
});
