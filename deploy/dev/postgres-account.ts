/** The account Postgres runs as: this one, or, since Postgres refuses root, an unprivileged one. */

import { execFile } from 'node:child_process';
import { readFile, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import { StewardError } from '#domain/errors.ts';
import { isRoot } from './paths.ts';

/** Chooses the account for Postgres where the launcher is root. */
export const ACCOUNT_VARIABLE = 'STEWARD_POSTGRES_USER';

const CANDIDATES = ['postgres', 'nobody'] as const;
const CHECK_MS = 5_000;

/** An account of this machine. */
export interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/**
 * The account to drop to: undefined for a normal user, who runs Postgres as themselves. For root it is the one that
 * owns the data already, else STEWARD_POSTGRES_USER, else `postgres`, else `nobody`.
 *
 * @throws StewardError WRONG_STATE when root has no such account; INVALID_REQUEST when the named one will not do.
 */
export async function postgresAccount(
  env: Readonly<Record<string, string | undefined>> = process.env,
  data?: string,
): Promise<Account | undefined> {
  if (!isRoot()) return undefined;
  // A system that gained an account `postgres` since must not lose its data over it.
  const owner = data === undefined ? undefined : await stat(data).catch(() => undefined);
  if (owner !== undefined && owner.uid !== 0) return accountOf(owner.uid, owner.gid);
  const wanted = env[ACCOUNT_VARIABLE];
  const named = wanted !== undefined && wanted !== '';
  for (const name of named ? [wanted] : CANDIDATES) {
    const account = await lookUp(name);
    if (account === undefined) continue;
    if (account.uid === 0) throw new StewardError('INVALID_REQUEST', `${ACCOUNT_VARIABLE} must not be root.`);
    return account;
  }
  const tried = named ? `no account "${wanted}"` : `neither ${CANDIDATES.join(' nor ')}`;
  throw new StewardError(
    named ? 'INVALID_REQUEST' : 'WRONG_STATE',
    `Postgres refuses to run as root, and this machine has ${tried}. Set ${ACCOUNT_VARIABLE} to an unprivileged ` +
      'account, run as a normal user, or set DATABASE_URL to a Postgres of your own.',
  );
}

/** For messages: the account's name. */
export function describeAccount(account: Account | undefined): string {
  return account === undefined ? 'this account' : `the account ${account.name}`;
}

/**
 * Makes sure that an account can pass through a directory and all above it, by trying it as that account.
 *
 * @throws StewardError NOT_PERMITTED naming the directory that is closed and what to set.
 */
export async function assertReachable(directory: string, account: Account | undefined): Promise<void> {
  if (account === undefined) return;
  try {
    await promisify(execFile)('/bin/sh', ['-c', 'cd -- "$0"', directory], {
      timeout: CHECK_MS,
      cwd: '/',
      env: {},
      uid: account.uid,
      gid: account.gid,
    });
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'EPERM') {
      const message = `This process may not switch to the account ${account.name}, which is to run Postgres.`;
      throw new StewardError('NOT_PERMITTED', `${message} Set DATABASE_URL to a Postgres of your own.`, { cause });
    }
    const closed = await closedParent(directory);
    throw new StewardError(
      'NOT_PERMITTED',
      `Postgres refuses to run as root, and the account ${account.name} cannot reach ${directory}` +
        `${closed === undefined ? '' : `, because ${closed} is closed to others`}. Set STEWARD_HOME to a place ` +
        'outside of it, or leave it unset for one under /var/lib/steward.',
      { cause },
    );
  }
}

async function closedParent(directory: string): Promise<string | undefined> {
  for (let path = directory; path !== dirname(path); path = dirname(path)) {
    const { mode } = await stat(path);
    if ((mode & 0o001) === 0) return path;
  }
  return undefined;
}

async function lookUp(name: string): Promise<Account | undefined> {
  return (await accounts()).find((account) => account.name === name);
}

async function accountOf(uid: number, gid: number): Promise<Account> {
  const named = (await accounts()).find((account) => account.uid === uid);
  return { name: named?.name ?? `number ${uid}`, uid, gid };
}

/** From the account file, which container images without any lookup program have too. */
async function accounts(): Promise<Account[]> {
  const text = await readFile('/etc/passwd', 'utf8').catch(() => '');
  return text.split('\n').flatMap((line) => {
    const [name, , uid, gid] = line.split(':');
    return name === undefined || uid === undefined ? [] : [{ name, uid: Number(uid), gid: Number(gid) }];
  });
}
