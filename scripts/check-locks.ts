import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type CheckResult, listFiles, runCommand } from './check-kit.ts';

const MIGRATION =
  /^(platform\/database\/migrations|catalog-kit\/migrations|services\/catalogs\/[^/]+\/migrations)\/[^/]+\.sql$/;
const MIGRATIONS_LOCK = 'migrations.lock.json';
const HISTORIES = 'test/histories';
const HISTORIES_MANIFEST = `${HISTORIES}/manifest.json`;

/** One recorded history of the replay corpus. `origin` says which release and which shape of run it comes from. */
export interface HistoryEntry {
  file: string;
  sha256: string;
  origin: string;
}

/**
 * Migrations are append-only: each folder's `migrations.lock.json` holds the hash of every file in it. With `update`, new
 * files that come after the listed ones are added; nothing that is listed is ever rewritten.
 */
export async function checkMigrations(root: string, update: boolean): Promise<CheckResult> {
  const files = await listFiles(root);
  const folders = new Set<string>();
  for (const file of files) {
    const folder = MIGRATION.exec(file)?.[1];
    if (folder !== undefined) folders.add(folder);
    if (file.endsWith(`/${MIGRATIONS_LOCK}`)) folders.add(file.slice(0, -MIGRATIONS_LOCK.length - 1));
  }
  const results = await Promise.all([...folders].sort().map((folder) => checkMigrationFolder(root, folder, update)));
  return {
    problems: results.flatMap((result) => result.problems),
    notes: results.flatMap((result) => result.notes ?? []),
  };
}

async function checkMigrationFolder(root: string, folder: string, update: boolean): Promise<CheckResult> {
  const lockPath = `${folder}/${MIGRATIONS_LOCK}`;
  const locked = readJson<Record<string, string>>(root, lockPath) ?? {};
  const present = readdirSync(join(root, folder))
    .filter((file) => file.endsWith('.sql'))
    .sort();
  const problems: string[] = [];
  const notes: string[] = [];
  for (const [file, hash] of Object.entries(locked)) {
    if (!present.includes(file)) problems.push(`${folder}/${file} is listed in ${lockPath} and gone; migrations stay`);
    else if (hashOf(root, `${folder}/${file}`) !== hash) {
      problems.push(`${folder}/${file} was changed after it was listed; take the change back and add a new migration`);
    }
  }
  const last = Object.keys(locked).sort().at(-1) ?? '';
  const added = present.filter((file) => locked[file] === undefined);
  for (const file of added) {
    if (file <= last) problems.push(`${folder}/${file} is new and comes before ${last}; give it the next number`);
    else if (update) notes.push(`listed ${folder}/${file}`);
    else problems.push(`${folder}/${file} is not listed yet; run npm run check -- --update-locks`);
  }
  if (update && added.length > 0 && problems.length === 0) {
    const entries = [
      ...Object.entries(locked),
      ...added.map((file) => [file, hashOf(root, `${folder}/${file}`)] as const),
    ];
    writeFileSync(join(root, lockPath), `${JSON.stringify(Object.fromEntries(entries), null, 2)}\n`);
  }
  for (const [file, hash] of Object.entries((await readReleased<Record<string, string>>(root, lockPath)) ?? {})) {
    if (locked[file] !== hash) problems.push(`${lockPath} no longer lists ${file} as the last release did`);
  }
  return { problems, notes };
}

/** The replay corpus is append-only: what its manifest lists is there unchanged, and nothing else lies beside it. */
export async function checkHistories(root: string): Promise<CheckResult> {
  const files = (await listFiles(root)).filter(
    (file) => file.startsWith(`${HISTORIES}/`) && file !== HISTORIES_MANIFEST,
  );
  const manifest = readJson<HistoryEntry[]>(root, HISTORIES_MANIFEST);
  if (manifest === undefined) {
    if (files.length === 0) return { problems: [], notes: [`${HISTORIES} is empty`] };
    return { problems: [`${HISTORIES_MANIFEST} is missing: [{ "file", "sha256", "origin" }, …]`] };
  }
  const problems: string[] = [];
  const listed = new Set<string>();
  for (const { file, sha256, origin } of manifest) {
    const path = `${HISTORIES}/${file}`;
    if (listed.has(path)) problems.push(`${HISTORIES_MANIFEST} lists ${file} twice`);
    listed.add(path);
    if (typeof origin !== 'string' || origin === '') problems.push(`${HISTORIES_MANIFEST} gives no origin for ${file}`);
    if (!files.includes(path)) problems.push(`${path} is listed and gone; recorded histories stay`);
    else if (hashOf(root, path) !== sha256) problems.push(`${path} has changed; recorded histories stay as they are`);
  }
  for (const file of files) if (!listed.has(file)) problems.push(`${file} is not listed in ${HISTORIES_MANIFEST}`);
  for (const { file, sha256 } of (await readReleased<HistoryEntry[]>(root, HISTORIES_MANIFEST)) ?? []) {
    const kept = manifest.some((entry) => entry.file === file && entry.sha256 === sha256);
    if (!kept) problems.push(`${HISTORIES_MANIFEST} no longer lists ${file} as the last release did`);
  }
  return { problems };
}

function hashOf(root: string, file: string): string {
  return createHash('sha256')
    .update(readFileSync(join(root, file)))
    .digest('hex');
}

function readJson<T>(root: string, file: string): T | undefined {
  return existsSync(join(root, file)) ? (JSON.parse(readFileSync(join(root, file), 'utf8')) as T) : undefined;
}

/** A JSON file as it was in the newest release tag (v1.2.3) behind HEAD; undefined before the first release. */
async function readReleased<T>(root: string, file: string): Promise<T | undefined> {
  const tag = await runCommand(root, 'git', ['describe', '--tags', '--abbrev=0', '--match', 'v[0-9]*']);
  if (tag.status !== 0) return undefined;
  const shown = await runCommand(root, 'git', ['show', `${tag.stdout.trim()}:${file}`]);
  return shown.status === 0 ? (JSON.parse(shown.stdout) as T) : undefined;
}
