import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { type CheckResult, listFiles } from './check-kit.ts';
import { type LockedPackage, lockfilesOf, readLock } from './check-lockfile.ts';

const PERMISSIVE = new Set([
  '0BSD',
  'Apache-2.0',
  'BlueOak-1.0.0',
  'BSD',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'CC0-1.0',
  'ISC',
  'MIT',
  'MIT-0',
  'PostgreSQL',
  'Python-2.0',
  'Unlicense',
]);

/** Packages whose stated licence is not on the list and that may stay, each with why. */
const EXCEPTIONS: Readonly<Record<string, { licence: string; reason: string }>> = {
  'caniuse-lite': { licence: 'CC-BY-4.0', reason: 'a data table that build tools read; nothing of it is shipped' },
  unionfs: { licence: 'none stated', reason: 'states no licence in its manifest; its LICENSE file is the Unlicense' },
};

/** A folder with a lockfile of its own, and packages that may stand in that one only, by their prefix, each with why. */
const ONLY_THERE: Readonly<Record<string, readonly { prefix: string; licence: string; reason: string }[]>> = {
  'bench/peers': [
    {
      prefix: '@restatedev/restate-server',
      licence: 'BSL',
      reason: 'Business Source License: a program that the benchmark starts on this machine; nothing links or ships it',
    },
  ],
};

const EXACT = /^\d+\.\d+\.\d+(?:-[\w.-]+)?$/;

/** Dependencies are pinned to one version each, and every installed package has a permissive licence. */
export async function checkDependencies(root: string): Promise<CheckResult> {
  const manifests = (await listFiles(root)).filter((file) => /(?:^|\/)package\.json$/.test(file));
  const pins = manifests.flatMap((file) =>
    unpinned(JSON.parse(readFileSync(join(root, file), 'utf8')) as LockedPackage, file),
  );
  const licences = (await lockfilesOf(root)).flatMap((file) => licenceProblems(root, file));
  return { problems: [...pins, ...new Set(licences)] };
}

function licenceProblems(root: string, file: string): string[] {
  const folder = dirname(file);
  return Object.entries(readLock(root, file)).flatMap(([path, entry]) => {
    if (path === '') return [];
    const name = path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);
    const licence = licenceOf(installedManifest(join(root, folder), path) ?? entry);
    const there = ONLY_THERE[folder]?.some((each) => name.startsWith(each.prefix) && licence === each.licence);
    return there ? [] : (licenceProblem(name, licence) ?? []);
  });
}

/** Dependencies of a manifest that are given as a range, a tag or an address. */
export function unpinned(manifest: LockedPackage, file: string): string[] {
  const all = { ...manifest.dependencies, ...manifest.devDependencies, ...manifest.optionalDependencies };
  return Object.entries(all)
    .filter(([, version]) => !EXACT.test(version))
    .map(([name, version]) => `${file} asks for ${name} ${version}; give one exact version`);
}

/** Why a package may not be used under this licence expression, or undefined where it may. */
export function licenceProblem(name: string, licence: string): string | undefined {
  if (isPermissive(licence) || EXCEPTIONS[name]?.licence === licence) return undefined;
  return `${name} has the licence ${licence}; replace it, or explain it in scripts/check-dependencies.ts`;
}

/** Whether an SPDX expression leaves a choice that is permissive throughout. */
export function isPermissive(expression: string): boolean {
  const inner = expression.trim().replace(/^\(([^()]*)\)$/, '$1');
  if (/[()]/.test(inner)) return false;
  return inner.split(/ OR /i).some((choice) => choice.split(/ AND /i).every((part) => PERMISSIVE.has(part.trim())));
}

/** The licence a manifest states, in its present or one of its older forms. */
export function licenceOf(manifest: { license?: unknown; licenses?: unknown }): string {
  const { license, licenses } = manifest;
  if (typeof license === 'string' && license !== '') return license;
  const stated = (Array.isArray(licenses) ? licenses : [license]) as unknown[];
  const types = stated.map((one) => (typeof one === 'object' && one !== null ? (one as { type?: unknown }).type : one));
  const named = types.filter((type): type is string => typeof type === 'string');
  return named.length > 0 ? named.join(' OR ') : 'none stated';
}

function installedManifest(root: string, path: string): { license?: unknown } | undefined {
  const file = join(root, path, 'package.json');
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as { license?: unknown }) : undefined;
}
