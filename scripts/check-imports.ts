import { existsSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { join, posix } from 'node:path';
import { type CheckResult, isHandWritten, listFiles } from './check-kit.ts';
import { type Zone, zones } from './import-rules.ts';
import { type ImportReference, importsOf } from './source.ts';

type Aliases = ReadonlyMap<string, string>;

/** Import direction: every import of every source file against `import-rules.ts`. */
export async function checkImports(root: string): Promise<CheckResult> {
  const aliases = readAliases(root);
  const files = (await listFiles(root)).filter((file) => isHandWritten(file) || /^protos\/gen\/.*\.ts$/.test(file));
  const problems: string[] = [];
  for (const file of files) {
    const text = readFileSync(join(root, file), 'utf8');
    for (const reference of importsOf(file, text)) {
      const problem = problemWith(file, reference, aliases);
      if (problem !== undefined) problems.push(`${file}:${reference.line} ${problem}`);
    }
  }
  return { problems };
}

/** Why this import is refused in this file, or undefined where it is fine. */
export function problemWith(file: string, reference: ImportReference, aliases: Aliases): string | undefined {
  const match = zoneOf(file);
  if (match === undefined)
    return 'lies in no known part of the repository; give its folder a zone in scripts/import-rules.ts';
  const { zone, group } = match;
  const { specifier } = reference;
  if (specifier === null) {
    // Where every package is allowed, the target may be a file that a user names.
    if (zone.packages === null) return undefined;
    return `imports a computed target, whose direction cannot be checked; write it out (${zone.reason})`;
  }
  if (specifier.startsWith('.') || specifier.startsWith('#'))
    return problemWithOwn(file, reference, zone, group, aliases);
  if (specifier.startsWith('/') || specifier.startsWith('file:')) return `imports ${specifier} by an absolute path`;
  if (specifier.startsWith('node:')) {
    return allowed(zone.builtins, specifier) ? undefined : `may not import ${specifier} (${zone.reason})`;
  }
  if (builtinModules.includes(specifier)) return `imports ${specifier} without its node: prefix`;
  const refused = zone.withoutPackages !== undefined && allowed(zone.withoutPackages, specifier);
  if (refused || !allowed(zone.packages, specifier)) return `may not import ${specifier} (${zone.reason})`;
  return undefined;
}

function problemWithOwn(
  file: string,
  reference: ImportReference,
  zone: Zone,
  group: string,
  aliases: Aliases,
): string | undefined {
  const specifier = String(reference.specifier);
  const target = resolveOwn(file, specifier, aliases);
  if (target === undefined) return `imports ${specifier}, which no entry of "imports" in package.json names`;
  if (target.startsWith('../')) return `imports ${specifier} from outside the repository`;
  if (specifier.startsWith('.') && topFolder(file) !== topFolder(target) && !isTest(file)) {
    return `reaches ${target} by a relative path; across folders write the # name of package.json`;
  }
  if (isTest(target)) return `imports the test file ${target}; move what is shared to test/support`;
  const prefixes = zone.own?.map((prefix) => prefix.replace('$1', group)) ?? null;
  if (allowed(prefixes, target)) return undefined;
  if (reference.typeOnly && zone.ownTypes !== undefined && allowed(zone.ownTypes, target)) return undefined;
  return `may not import ${target} (${zone.reason})`;
}

/** The path of one of our files as an import names it, relative to the root; undefined for an unknown # name. */
export function resolveOwn(file: string, specifier: string, aliases: Aliases): string | undefined {
  if (specifier.startsWith('.')) return posix.normalize(posix.join(posix.dirname(file), specifier));
  for (const [prefix, folder] of aliases) {
    if (specifier.startsWith(prefix)) return posix.normalize(folder + specifier.slice(prefix.length));
  }
  return undefined;
}

/** The # names of package.json as prefix -> folder, for example `#domain/` -> `domain/`. */
export function readAliases(root: string): Aliases {
  const path = join(root, 'package.json');
  if (!existsSync(path)) return new Map();
  const manifest = JSON.parse(readFileSync(path, 'utf8')) as { imports?: Record<string, string> };
  const entries = Object.entries(manifest.imports ?? {});
  return new Map(
    entries.map(([name, target]) => [name.replace(/\*$/, ''), target.replace(/^\.\//, '').replace(/\*$/, '')]),
  );
}

function zoneOf(file: string): { zone: Zone; group: string } | undefined {
  for (const zone of zones) {
    const match = zone.files.exec(file);
    if (match !== null) return { zone, group: match[1] ?? '' };
  }
  return undefined;
}

function allowed(prefixes: readonly string[] | null, name: string): boolean {
  return prefixes === null || prefixes.some((prefix) => name === prefix || name.startsWith(`${prefix}/`));
}

function topFolder(file: string): string {
  return file.includes('/') ? file.slice(0, file.indexOf('/')) : '';
}

function isTest(file: string): boolean {
  return /\.test\.tsx?$/.test(file);
}
