import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type OnProgress, withProgress } from '#deploy/dev/progress.ts';

/** The package of the peers, which nothing else of Steward needs. */
export const PEERS = join(import.meta.dirname, '../peers');

const MODULES = join(PEERS, 'node_modules');
/** Says which lockfile was installed. */
const STAMP = join(MODULES, '.steward-lockfile');
const INSTALL_MS = 10 * 60_000;

/** Installs the peers by `npm ci` where that is not done for the lockfile as it is. Throws saying what npm says. */
export async function installPeers(onProgress: OnProgress, signal: AbortSignal): Promise<void> {
  const lock = createHash('sha256')
    .update(await readFile(join(PEERS, 'package-lock.json')))
    .digest('hex');
  if ((await readFile(STAMP, 'utf8').catch(() => '')) === lock) return;
  // Under `npm run` this npm; its scripts stay off, as .npmrc says.
  const npm = process.env.npm_execpath;
  const [command, args] = npm?.endsWith('.js') ? [process.execPath, [npm, 'ci']] : ['npm', ['ci']];
  const install = promisify(execFile)(command, args, { cwd: PEERS, timeout: INSTALL_MS, signal });
  try {
    await withProgress(onProgress, 'Installing bench/peers (npm ci)', install);
  } catch (cause) {
    signal.throwIfAborted();
    const said = (cause as { stderr?: string }).stderr?.trim().split('\n').slice(-5).join('\n');
    throw new Error(`npm ci in bench/peers failed: ${said || cause}`, { cause });
  }
  await writeFile(STAMP, lock);
}

/** The installed version of a package, or undefined where it is not there. */
export async function versionOf(name: string): Promise<string | undefined> {
  const manifest = join(MODULES, name, 'package.json');
  if (!existsSync(manifest)) return undefined;
  return (JSON.parse(await readFile(manifest, 'utf8')) as { version?: string }).version;
}

/** Restate's server for this machine, or undefined where the registry brought none. */
export function restateProgram(): string | undefined {
  const program = join(MODULES, `@restatedev/restate-server-${process.platform}-${process.arch}/bin/restate-server`);
  return existsSync(program) ? program : undefined;
}
