/** `npm run pack:client`: writes dist/steward-client-<version>.tgz, the module `steward/client` for product services. */

import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { stripTypeScriptTypes } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join, posix } from 'node:path';
import { promisify } from 'node:util';

const ROOT = join(import.meta.dirname, '..');
const ENTRY = 'client/index.ts';
// What is loaded on demand is a server's, and stays behind.
const SPECIFIER = /(\bfrom\s*|\bimport\s+)(['"])(#[^'"]+|\.{1,2}\/[^'"]+)\2/g;
const PACKAGE = /\bfrom\s*['"]((?:@[^/'"]+\/)?[^./'"#][^/'"]*)/g;
const TYPES_MS = 180_000;

interface Manifest {
  readonly version: string;
  readonly license: string;
  readonly imports: Readonly<Record<string, string>>;
  readonly dependencies: Readonly<Record<string, string>>;
}

/** Packs the client into `folder` and returns the tarball's path. */
export async function packClient(folder: string): Promise<string> {
  const run = promisify(execFile);
  const manifest = JSON.parse(await readFile(join(ROOT, 'package.json'), 'utf8')) as Manifest;
  // Its declarations.
  await run(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-b', 'client'], {
    cwd: ROOT,
    timeout: TYPES_MS,
  });
  const work = await mkdtemp(join(tmpdir(), 'steward-client-'));
  try {
    const packages = new Set<string>();
    const files = await reach(ENTRY, manifest.imports, packages);
    for (const [file, source] of files) {
      const code = stripTypeScriptTypes(source, { mode: 'strip' });
      await write(join(work, file.replace(/\.ts$/, '.js')), rewrite(code, file, manifest.imports));
      const types = await readFile(join(ROOT, '.cache/types', file.replace(/\.ts$/, '.d.ts')), 'utf8');
      await write(join(work, file.replace(/\.ts$/, '.d.ts')), rewrite(types, file, manifest.imports));
    }
    const dependencies = Object.fromEntries(
      Object.entries(manifest.dependencies).filter(([name]) => packages.has(name)),
    );
    await write(
      join(work, 'package.json'),
      `${JSON.stringify(
        {
          name: 'steward',
          version: manifest.version,
          description: 'Starts and watches governed agent runs.',
          license: manifest.license,
          type: 'module',
          engines: { node: '>=20.17' },
          exports: { './client': { types: './client/index.d.ts', default: './client/index.js' } },
          dependencies,
        },
        null,
        2,
      )}\n`,
    );
    const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', work], {
      cwd: work,
      timeout: TYPES_MS,
    });
    const [packed] = JSON.parse(stdout) as { readonly filename: string }[];
    const target = join(folder, `steward-client-${manifest.version}.tgz`);
    await mkdir(folder, { recursive: true });
    await cp(join(work, packed?.filename ?? ''), `${target}.part`);
    await rename(`${target}.part`, target);
    return target;
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Our own files that the entry needs, whole, with their sources; and the packages they name. */
async function reach(
  entry: string,
  imports: Manifest['imports'],
  packages: Set<string>,
): Promise<ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  const open = [entry];
  for (let file = open.pop(); file !== undefined; file = open.pop()) {
    if (found.has(file)) continue;
    const source = await readFile(join(ROOT, file), 'utf8');
    found.set(file, source);
    for (const match of source.matchAll(SPECIFIER)) open.push(resolved(match[3] ?? '', file, imports));
    for (const match of source.matchAll(PACKAGE)) packages.add(match[1] ?? '');
  }
  return found;
}

function resolved(specifier: string, from: string, imports: Manifest['imports']): string {
  if (!specifier.startsWith('#')) return posix.join(dirname(from), specifier);
  for (const [pattern, target] of Object.entries(imports)) {
    const prefix = pattern.slice(0, -1);
    if (specifier.startsWith(prefix)) return posix.normalize(target.replace('*', specifier.slice(prefix.length)));
  }
  throw new Error(`${from} imports ${specifier}, which package.json does not name`);
}

function rewrite(text: string, file: string, imports: Manifest['imports']): string {
  return text.replace(SPECIFIER, (_all, before: string, quote: string, specifier: string) => {
    const relative = posix.relative(dirname(file), resolved(specifier, file, imports)).replace(/\.ts$/, '.js');
    return `${before}${quote}${relative.startsWith('.') ? relative : `./${relative}`}${quote}`;
  });
}

async function write(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, text);
}

if (import.meta.main) console.log(await packClient(join(ROOT, 'dist')));
