import { expect, test } from '@jest/globals';
import { checkPrivacy, configuredHosts, findPrivate } from '#scripts/check-privacy.ts';
import { withRepository } from '#test/support/repository.ts';

// Put together, so that the check does not find this file.
const work = ['', 'work', ''].join('/');
const home = ['', 'root', ''].join('/');
const npmHost = ['registry', 'npmjs', 'org'].join('.');

test('machine folders and registry hosts are named with file and line, in every kind of file', async () => {
  const files = {
    'docs/a.md': `fine\nsee ${work}main/x\n`,
    'package-lock.json': `{ "resolved": "https://${npmHost}/pg" }`,
    'test/histories/a.json': `{ "stack": "at f (${home}x.js:1)" }`,
    'logo.png': `\0${work}`,
  };
  await withRepository(files, async (root) => {
    expect((await checkPrivacy(root)).problems).toEqual([
      `docs/a.md:2 names ${work}`,
      `package-lock.json:1 names ${npmHost}`,
      `test/histories/a.json:1 names ${home}`,
    ]);
  });
});

test('parts of longer names are fine', () => {
  const text = `frame${work}x src${home}y \${dir}${work}z https://docs.example.com${work}a ${npmHost}anization`;
  expect(findPrivate(text, [npmHost])).toEqual([]);
});

test('the registries a machine is set up with are looked for as well', () => {
  expect(
    configuredHosts({
      npm_config_registry: 'https://user@packages.example.com:8443/npm/',
      GOPROXY: 'https://go.example.com|direct,off',
      PIP_INDEX_URL: 'http://127.0.0.1:3141/simple',
    }),
  ).toEqual(['packages.example.com', 'go.example.com']);
});
