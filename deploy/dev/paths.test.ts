import { chmod, chown, mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { skipUnless } from '#test/support/skip.ts';
import { cloneKey, isRoot, preparePaths, resolvePaths } from './paths.ts';

const NOBODY = 65_534;

let place: string;
beforeAll(async () => {
  place = await mkdtemp(join(tmpdir(), 'steward-paths-'));
});
afterAll(() => rm(place, { recursive: true, force: true }));

test('two clones never share data, wherever they stand', async () => {
  const [one, two] = [join(place, 'one', 'steward'), join(place, 'two', 'steward')];
  await mkdir(one, { recursive: true });
  await mkdir(two, { recursive: true });
  const homes = [await resolvePaths({}, one), await resolvePaths({}, two)].map((paths) => paths.home);
  expect(homes[0]).not.toBe(homes[1]);
  expect(homes[0]).toMatch(/steward-[0-9a-f]{10}$/);
  expect(cloneKey('/a b/ü')).toMatch(/^--[0-9a-f]{10}$/);
});

test('data goes to the state directory, or where every account can reach it; binaries to the cache', async () => {
  const paths = await resolvePaths({ XDG_STATE_HOME: '/x/state', XDG_CACHE_HOME: '/x/cache' }, place);
  expect(paths.home.startsWith(isRoot() ? '/var/lib/steward/' : '/x/state/steward/')).toBe(true);
  expect(paths.cache).toBe('/x/cache/steward');
  expect(paths.postgresCache).toBe(isRoot() ? '/var/cache/steward' : '/x/cache/steward');
  expect((await resolvePaths({}, place)).cache).toBe(join(homedir(), '.cache', 'steward'));
  const chosen = await resolvePaths({ STEWARD_HOME: '/y/home', STEWARD_CACHE: '/y/cache' }, place);
  expect([chosen.home, chosen.cache, chosen.postgresCache]).toEqual(['/y/home', '/y/cache', '/y/cache']);
});

test('what it makes is closed to other accounts, and closed again if it was opened', async () => {
  const paths = await resolvePaths({ STEWARD_HOME: join(place, 'home'), STEWARD_CACHE: join(place, 'cache') }, place);
  await preparePaths(paths);
  await chmod(paths.secrets, 0o755);
  await preparePaths(paths);
  const modeOf = async (path: string) => (await stat(path)).mode & 0o777;
  expect(await modeOf(paths.secrets)).toBe(0o700);
  expect(await modeOf(paths.logs)).toBe(0o700);
  expect(await modeOf(paths.home)).toBe(isRoot() ? 0o711 : 0o700);
});

skipUnless('needs root to give a directory away', isRoot())('a directory of somebody else is refused', async () => {
  const foreign = join(place, 'foreign');
  await mkdir(foreign);
  await chown(foreign, NOBODY, NOBODY);
  const paths = await resolvePaths({ STEWARD_HOME: foreign, STEWARD_CACHE: join(place, 'cache') }, place);
  await expect(preparePaths(paths)).rejects.toMatchObject({ code: 'NOT_PERMITTED' });
});
