import { createHash } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { checkHistories, checkMigrations } from '#scripts/check-locks.ts';
import { addFiles, release, withRepository } from '#test/support/repository.ts';

const folder = 'platform/database/migrations';
const lock = `${folder}/migrations.lock.json`;
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

test('a new migration must be listed; listing it is one command, and adds nothing twice', async () => {
  await withRepository({ [`${folder}/0001_a.sql`]: 'a' }, async (root) => {
    expect((await checkMigrations(root, false)).problems).toEqual([
      expect.stringMatching(/0001_a\.sql is not listed yet/),
    ]);
    expect(await checkMigrations(root, true)).toEqual({ problems: [], notes: [`listed ${folder}/0001_a.sql`] });
    expect(await checkMigrations(root, false)).toEqual({ problems: [], notes: [] });
    addFiles(root, { [`${folder}/0002_b.sql`]: 'b' });
    await checkMigrations(root, true);
    expect(JSON.parse(readFileSync(join(root, lock), 'utf8'))).toEqual({
      '0001_a.sql': sha256('a'),
      '0002_b.sql': sha256('b'),
    });
  });
});

test('a listed migration that was changed or removed fails, also while listing others', async () => {
  const other = 'services/catalogs/projects/migrations';
  const files = { [`${folder}/0001_a.sql`]: 'a', [`${folder}/0002_b.sql`]: 'b', [`${other}/0001_c.sql`]: 'c' };
  await withRepository(files, async (root) => {
    await checkMigrations(root, true);
    addFiles(root, { [`${folder}/0001_a.sql`]: 'changed', [`${other}/0002_d.sql`]: 'd' });
    rmSync(join(root, folder, '0002_b.sql'));
    const before = readFileSync(join(root, lock), 'utf8');
    expect((await checkMigrations(root, true)).problems).toEqual([
      expect.stringMatching(/0001_a\.sql was changed/),
      expect.stringMatching(/0002_b\.sql is listed in .* and gone/),
    ]);
    expect(readFileSync(join(root, lock), 'utf8')).toBe(before);
    expect((await checkMigrations(root, false)).problems).toHaveLength(2);
  });
});

test('a whole folder of listed migrations cannot vanish, and none slips in between', async () => {
  await withRepository({ [`${folder}/0001_a.sql`]: 'a', [`${folder}/0003_c.sql`]: 'c' }, async (root) => {
    await checkMigrations(root, true);
    addFiles(root, { [`${folder}/0002_b.sql`]: 'b' });
    expect((await checkMigrations(root, true)).problems).toEqual([
      expect.stringMatching(/0002_b\.sql is new and comes before 0003/),
    ]);
    for (const file of ['0001_a', '0002_b', '0003_c']) rmSync(join(root, folder, `${file}.sql`));
    expect((await checkMigrations(root, false)).problems).toHaveLength(2);
  });
});

test('what a release listed stays listed, even where the lock itself is rewritten', async () => {
  await withRepository({ [`${folder}/0001_a.sql`]: 'a' }, async (root) => {
    await checkMigrations(root, true);
    release(root, 'v0.1.0');
    addFiles(root, { [`${folder}/0001_a.sql`]: 'b', [lock]: JSON.stringify({ '0001_a.sql': sha256('b') }) });
    expect((await checkMigrations(root, false)).problems).toEqual([
      expect.stringMatching(/no longer lists 0001_a\.sql as the last release/),
    ]);
  });
});

const manifest = (...entries: { file: string; sha256: string; origin?: string }[]): Record<string, string> => ({
  'test/histories/manifest.json': JSON.stringify(entries),
});

test('the replay corpus is exactly what its manifest lists', async () => {
  const one = { file: 'one.json', sha256: sha256('1'), origin: 'v0.1.0: completed' };
  await withRepository({ ...manifest(one), 'test/histories/one.json': '1' }, async (root) => {
    expect(await checkHistories(root)).toEqual({ problems: [] });
    addFiles(root, { 'test/histories/one.json': '2', 'test/histories/stray.json': '3' });
    expect((await checkHistories(root)).problems).toEqual([
      'test/histories/one.json has changed; recorded histories stay as they are',
      'test/histories/stray.json is not listed in test/histories/manifest.json',
    ]);
  });
});

test('gone, doubled and unexplained histories fail, and so does what a release had', async () => {
  const one = { file: 'one.json', sha256: sha256('1'), origin: 'v0.1.0: completed' };
  await withRepository({ ...manifest(one), 'test/histories/one.json': '1' }, async (root) => {
    release(root, 'v0.1.0');
    rmSync(join(root, 'test/histories/one.json'));
    expect((await checkHistories(root)).problems).toEqual([expect.stringMatching(/one\.json is listed and gone/)]);
    addFiles(root, {
      ...manifest({ ...one, sha256: sha256('9'), origin: '' }, { ...one, sha256: sha256('9') }),
      'test/histories/one.json': '9',
    });
    expect((await checkHistories(root)).problems).toEqual([
      expect.stringMatching(/no origin for one\.json/),
      expect.stringMatching(/lists one\.json twice/),
      expect.stringMatching(/no longer lists one\.json as the last release/),
    ]);
  });
});

test('an empty corpus is fine, histories without a manifest are not', async () => {
  await withRepository({ 'README.md': '' }, async (root) => {
    expect((await checkHistories(root)).problems).toEqual([]);
    addFiles(root, { 'test/histories/one.json': '1' });
    expect((await checkHistories(root)).problems).toEqual([expect.stringMatching(/manifest\.json is missing/)]);
  });
});
