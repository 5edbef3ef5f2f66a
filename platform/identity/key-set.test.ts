import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterEach, expect, test } from '@jest/globals';
import { stewardErrorOf } from '#test/support/errors.ts';
import { testIssuer } from '#test/support/identity.ts';
import { createVerifier } from './tokens.ts';

const issuer = await testIssuer();
const other = await testIssuer();
const { audience } = issuer;
const cleanups: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

async function directory(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'steward-keys-'));
  cleanups.push(() => rm(path, { recursive: true, force: true }));
  return path;
}

test('keys come from a path and from a file URL', async () => {
  const path = join(await directory(), 'jwks.json');
  await writeFile(path, JSON.stringify(issuer.jwks));
  for (const jwks of [path, pathToFileURL(path).href]) {
    const verifier = createVerifier({ issuer: issuer.issuer, audience, jwks });
    await expect(verifier.verify(await issuer.token())).resolves.toMatchObject({ subject: 'ann@acme' });
    expect((await stewardErrorOf(verifier.verify(await other.token()))).code).toBe('TOKEN_INVALID');
  }
});

test('a file that is missing or broken refuses everyone as unavailable, and is found once it is there', async () => {
  const path = join(await directory(), 'jwks.json');
  const verifier = createVerifier({ issuer: issuer.issuer, audience, jwks: path });
  const token = await issuer.token();
  expect((await stewardErrorOf(verifier.verify(token))).code).toBe('UNAVAILABLE');
  for (const broken of ['{', '{"keys":7}', 'null']) {
    await writeFile(path, broken);
    expect((await stewardErrorOf(verifier.verify(token))).code).toBe('UNAVAILABLE');
  }
  await writeFile(path, JSON.stringify(issuer.jwks));
  await expect(verifier.verify(token)).resolves.toMatchObject({ tenant: 'acme' });
});

test('keys come from a URL, are fetched once, and fail closed', async () => {
  let fetched = 0;
  const server = createServer((_request, response) => {
    fetched += 1;
    response.setHeader('content-type', 'application/json').end(JSON.stringify(issuer.jwks));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const jwks = `http://127.0.0.1:${(server.address() as AddressInfo).port}/keys`;
  const verifier = createVerifier({ issuer: issuer.issuer, audience, jwks });
  const token = await issuer.token();
  const answers = await Promise.all([1, 2, 3, 4].map(() => verifier.verify(token)));
  expect(answers).toHaveLength(4);
  // Within the cooldown an unknown key does not fetch again.
  expect((await stewardErrorOf(verifier.verify(await other.token()))).code).toBe('TOKEN_INVALID');
  expect(fetched).toBe(1);
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
  const late = createVerifier({ issuer: issuer.issuer, audience, jwks });
  expect((await stewardErrorOf(late.verify(token))).code).toBe('UNAVAILABLE');
});

test('an endpoint that answers errors, redirects or nonsense is unavailable', async () => {
  const answers: readonly (readonly [number, string])[] = [
    [500, '{}'],
    [302, ''],
    [200, 'nonsense'],
    [200, '{"keys":"none"}'],
  ];
  for (const [status, body] of answers) {
    const server = createServer((_request, response) => {
      response.writeHead(status, { location: '/elsewhere' }).end(body);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const jwks = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
    const verifier = createVerifier({ issuer: issuer.issuer, audience, jwks });
    expect([status, body, (await stewardErrorOf(verifier.verify(await issuer.token()))).code]).toEqual([
      status,
      body,
      'UNAVAILABLE',
    ]);
    server.closeAllConnections();
    server.close();
  }
});
