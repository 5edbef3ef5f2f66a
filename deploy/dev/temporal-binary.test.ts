import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { cachedProgram, findTemporal } from './temporal-binary.ts';
import { readTemporalDev } from './temporal-config.ts';

// The download goes through a proxy that is not there, so that it fails on machines with a network as well.
const OFFLINE = { HTTPS_PROXY: 'http://127.0.0.1:1', https_proxy: 'http://127.0.0.1:1' };

let place: string;
beforeAll(async () => {
  place = await mkdtemp(join(tmpdir(), 'steward-temporal-'));
});
afterAll(() => rm(place, { recursive: true, force: true }));

/** A directory for the PATH with a `temporal` that answers `--version` as that release does. */
async function pathWith(name: string, version: string): Promise<string> {
  const directory = join(place, name);
  await mkdir(directory, { recursive: true });
  const script = `#!/bin/sh\necho "temporal version 1.0.0 (Server ${version}, UI 2.0.0)"\n`;
  await writeFile(join(directory, 'temporal'), script, { mode: 0o755 });
  return directory;
}

test('an address comes before everything else', async () => {
  const env = { TEMPORAL_ADDRESS: 'temporal.example:7233', PATH: await pathWith('new', '1.31.0') };
  const found = await findTemporal({ paths: { cache: place }, dev: await readTemporalDev(), env });
  expect(found).toEqual({ kind: 'external', address: 'temporal.example:7233' });
});

test('a program on the PATH comes before the cache, unless it is too old', async () => {
  const dev = await readTemporalDev();
  const paths = { cache: join(place, 'cache') };
  const cached = cachedProgram(paths, dev);
  await mkdir(join(cached, '..'), { recursive: true });
  await writeFile(cached, '', { mode: 0o755 });
  const fresh = await pathWith('new', '1.31.0');
  const found = await findTemporal({ paths, dev, env: { PATH: fresh } });
  expect(found).toEqual({ kind: 'program', from: 'path', path: join(fresh, 'temporal') });
  const old = await pathWith('old', '1.9.2');
  const lines: string[] = [];
  const second = await findTemporal({ paths, dev, env: { PATH: old }, onProgress: (line) => lines.push(line) });
  expect(second).toEqual({ kind: 'program', from: 'cache', path: cached });
  expect(lines.join()).toMatch(/server 1\.9\.2, older than 1\.29\.1: not used/);
});

test('with no way open it fails within seconds and says what to install', async () => {
  const paths = { cache: join(place, 'empty') };
  await mkdir(paths.cache);
  const began = Date.now();
  const search = findTemporal({
    paths,
    dev: await readTemporalDev(),
    env: { ...OFFLINE, PATH: join(place, 'nothing') },
  });
  await expect(search).rejects.toMatchObject({ code: 'WRONG_STATE' });
  await expect(search).rejects.toThrow(
    /cannot be downloaded.*Go is not installed.*install the Temporal CLI.*TEMPORAL_ADDRESS/s,
  );
  expect(Date.now() - began).toBeLessThan(20_000);
});
