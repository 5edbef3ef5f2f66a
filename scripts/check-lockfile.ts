import { readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { type CheckResult, listFiles } from './check-kit.ts';

const LOCKFILE = 'package-lock.json';

/** The part of a package-lock.json entry that the checks read. */
export interface LockedPackage {
  version?: string;
  resolved?: string;
  license?: string;
  dependencies?: Record<string, string>;
  devDependencies?: Record<string, string>;
  optionalDependencies?: Record<string, string>;
}

/** Lock entries by their path, for example `node_modules/pg`; the root is the empty path. */
export type LockedPackages = Readonly<Record<string, LockedPackage>>;

/** Every lockfile fits `npm ci` anywhere and names no registry; the root's gives Temporal one protobufjs 8. */
export async function checkLockfile(root: string): Promise<CheckResult> {
  const packages = readLock(root, LOCKFILE);
  return {
    problems: [
      ...(await lockfilesOf(root)).flatMap((file) => problemsOf(root, file)),
      ...protobufCopies(packages),
      ...temporalVersions(packages),
    ],
  };
}

/** The lockfiles of the repository: the root's, and those of packages that stand on their own. */
export async function lockfilesOf(root: string): Promise<string[]> {
  return (await listFiles(root)).filter((file) => basename(file) === LOCKFILE);
}

/** Reads a package-lock.json. */
export function readLock(root: string, file: string): LockedPackages {
  const lock = JSON.parse(readFileSync(join(root, file), 'utf8')) as { packages: LockedPackages };
  return lock.packages;
}

/** The package a name means when it is imported from the package at `from`, as Node finds it. */
export function locate(packages: LockedPackages, from: string, name: string): string | undefined {
  let folder = from;
  for (;;) {
    const candidate = `${folder === '' ? '' : `${folder}/`}node_modules/${name}`;
    if (candidate in packages) return candidate;
    if (folder === '') return undefined;
    folder = folder.slice(0, Math.max(0, folder.lastIndexOf('node_modules/') - 1));
  }
}

function problemsOf(root: string, file: string): string[] {
  const manifest = JSON.parse(readFileSync(join(root, dirname(file), 'package.json'), 'utf8')) as LockedPackage;
  const packages = readLock(root, file);
  return [
    ...unsynchronised(file, manifest, packages),
    ...missingOptional(file, packages),
    ...registryAddresses(file, packages),
  ];
}

function unsynchronised(file: string, manifest: LockedPackage, packages: LockedPackages): string[] {
  const locked = packages[''] ?? {};
  return (['dependencies', 'devDependencies'] as const).flatMap((kind) => {
    const names = new Set([...Object.keys(manifest[kind] ?? {}), ...Object.keys(locked[kind] ?? {})]);
    return [...names]
      .filter((name) => manifest[kind]?.[name] !== locked[kind]?.[name])
      .map((name) => `${file} and its package.json differ about ${name}; run npm install under Node 24`);
  });
}

// npm ci refuses a lockfile that leaves out the packages of other platforms; npm install writes such a one where the
// registry it talks to does not have them.
function missingOptional(file: string, packages: LockedPackages): string[] {
  return Object.entries(packages).flatMap(([path, entry]) => {
    const names = Object.keys(entry.optionalDependencies ?? {});
    const missing = names.filter((name) => locate(packages, path, name) === undefined);
    if (missing.length === 0) return [];
    return [`${file} leaves out optional packages of ${path}, which npm ci refuses: ${missing.join(', ')}`];
  });
}

function registryAddresses(file: string, packages: LockedPackages): string[] {
  return Object.entries(packages)
    .filter(([, entry]) => entry.resolved?.startsWith('http') === true)
    .map(([path]) => `${file} holds a registry address for ${path}; .npmrc must omit it`);
}

function protobufCopies(packages: LockedPackages): string[] {
  const copies = Object.keys(packages).filter(
    (path) => path.endsWith('node_modules/protobufjs') && packages[path]?.version?.startsWith('8.') === true,
  );
  const problems =
    copies.length === 1
      ? []
      : [`there are ${copies.length} copies of protobufjs 8, one is wanted: ${copies.join(', ')}`];
  for (const [path, entry] of temporalPackages(packages)) {
    if (entry.dependencies?.protobufjs === undefined) continue;
    const found = locate(packages, path, 'protobufjs');
    if (found !== copies[0])
      problems.push(`${path} uses ${found ?? 'no protobufjs'} instead of the shared protobufjs 8`);
  }
  return problems;
}

function temporalVersions(packages: LockedPackages): string[] {
  const versions = new Set(temporalPackages(packages).map(([, entry]) => entry.version));
  return versions.size <= 1 ? [] : [`@temporalio packages have several versions: ${[...versions].join(', ')}`];
}

function temporalPackages(packages: LockedPackages): [string, LockedPackage][] {
  return Object.entries(packages).filter(([path]) => /node_modules\/@temporalio\/[^/]+$/.test(path));
}
