/**
 * Where the embedded default can be reached, left for `steward` to find: one small file in the data directory, written
 * when everything is up and removed when it goes down.
 */

import { randomUUID } from 'node:crypto';
import { readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { DevPaths } from './paths.ts';

/** A running local environment. Addresses are `host:port`, `temporalUi` is an http URL or empty. */
export interface DevEnvironment {
  readonly runApi: string;
  readonly guard: string;
  readonly temporal: string;
  readonly temporalUi: string;
  /** Temporal's namespace. */
  readonly namespace: string;
  /** `iss` and `aud` of the tokens its services accept. */
  readonly issuer: string;
  readonly audience: string;
}

/** Name of the key pair in `DevPaths.secrets` that signs local bearer tokens. */
export const TOKEN_KEY = 'tokens';

const NAMES = ['runApi', 'guard', 'temporal', 'namespace', 'issuer', 'audience'] as const;

/** The file that says where the environment can be reached. */
export function environmentFile(paths: DevPaths): string {
  return join(paths.home, 'dev.json');
}

/** The file of the private key that signs local bearer tokens. */
export function tokenKeyFile(paths: DevPaths): string {
  return join(paths.secrets, `${TOKEN_KEY}.key.json`);
}

/** Writes the file; whoever reads it sees the old one or the new one whole. */
export async function writeEnvironment(paths: DevPaths, environment: DevEnvironment): Promise<void> {
  const temporary = join(paths.home, `.dev.${randomUUID()}.json`);
  await writeFile(temporary, `${JSON.stringify(environment, null, 2)}\n`, { mode: 0o600 });
  await rename(temporary, environmentFile(paths));
}

/** The environment that was written last, or null where none was, or where the file says something else. */
export async function readEnvironment(paths: DevPaths): Promise<DevEnvironment | null> {
  try {
    const value = JSON.parse(await readFile(environmentFile(paths), 'utf8')) as Record<string, unknown>;
    const complete = NAMES.every((name) => typeof value[name] === 'string' && value[name] !== '');
    return complete ? ({ temporalUi: '', ...value } as unknown as DevEnvironment) : null;
  } catch {
    return null;
  }
}

/** Removes the file, where there is one. */
export async function removeEnvironment(paths: DevPaths): Promise<void> {
  await rm(environmentFile(paths), { force: true });
}
