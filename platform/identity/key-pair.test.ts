import { spawn } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { afterAll, expect, test } from '@jest/globals';
import { stewardErrorOf } from '#test/support/errors.ts';
import { createKeyPair, readPrivateKey } from './key-pair.ts';

const root = await mkdtemp(join(tmpdir(), 'steward-key-pair-'));
afterAll(() => rm(root, { recursive: true, force: true }));

test('a key pair is made once, its private half for its owner only', async () => {
  const directory = join(root, 'once', 'deep');
  const first = await createKeyPair(directory, 'guard');
  const second = await createKeyPair(directory, 'guard');
  expect(second).toEqual(first);
  expect((await stat(first.privatePath)).mode & 0o777).toBe(0o600);
  expect((await stat(directory)).mode & 0o777).toBe(0o700);
  expect(await readFile(first.jwksPath, 'utf8')).not.toContain('"d"');
  expect(first.jwks.keys[0]).toMatchObject({ kty: 'OKP', crv: 'Ed25519', alg: 'EdDSA', kid: first.privateJwk.kid });
  expect((await readdir(directory)).sort()).toEqual(['guard.jwks.json', 'guard.key.json']);
  const other = await createKeyPair(directory, 'run-api');
  expect(other.privateJwk.kid).not.toBe(first.privateJwk.kid);
});

test('a public half that got lost or damaged is written again', async () => {
  const directory = join(root, 'again');
  const first = await createKeyPair(directory, 'guard');
  await writeFile(first.jwksPath, '{');
  await createKeyPair(directory, 'guard');
  expect(JSON.parse(await readFile(first.jwksPath, 'utf8'))).toEqual(first.jwks);
});

test('processes that start at once get one key', async () => {
  const directory = join(root, 'race');
  const module = join(import.meta.dirname, 'key-pair.ts');
  const script = `const { createKeyPair } = await import(${JSON.stringify(module)});
    const pairs = await Promise.all([1, 2, 3, 4].map(() => createKeyPair(${JSON.stringify(directory)}, 'guard')));
    console.log(pairs.map((pair) => pair.privateJwk.kid).join());`;
  const outputs = await Promise.all(
    [1, 2, 3].map(async () => {
      const child = spawn(process.execPath, ['--input-type=module', '--eval', script], { stdio: 'pipe' });
      const [out, error] = await Promise.all([text(child.stdout), text(child.stderr)]);
      return out.trim() || error;
    }),
  );
  const kids = new Set(outputs.flatMap((line) => line.split(',')));
  expect(kids).toEqual(new Set([(await createKeyPair(directory, 'guard')).privateJwk.kid]));
  expect((await readdir(directory)).sort()).toEqual(['guard.jwks.json', 'guard.key.json']);
});

test('a file that holds no private key is named and not shown', async () => {
  const path = join(root, 'bad.key.json');
  await writeFile(path, '{"kty":"oct","k":"c2VjcmV0"}');
  const error = await stewardErrorOf(readPrivateKey(path));
  expect(error.code).toBe('INVALID_REQUEST');
  expect(error.message).not.toContain('c2VjcmV0');
  expect((await stewardErrorOf(readPrivateKey(join(root, 'none.json')))).message).toContain('none.json');
});
