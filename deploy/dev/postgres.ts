/**
 * The Postgres of the embedded default: a real server on loopback, started at first need, kept between starts. Set
 * DATABASE_URL and nothing is started.
 */

import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmod, chown, mkdir, readFile, realpath, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { StewardError } from '#domain/errors.ts';
import type { DevPaths } from './paths.ts';
import { assertPortFree, LOOPBACK, type PortSpec, portOf } from './ports.ts';
import { type Account, assertReachable, postgresAccount } from './postgres-account.ts';
import {
  findPostgresPackage,
  type PostgresBinaries,
  type PostgresPackage,
  preparePostgresBinaries,
} from './postgres-binaries.ts';
import { ensureDatabase, probe, waitUntilServing } from './postgres-client.ts';
import { clearStalePidFile, findPostmaster, type Postmaster } from './postgres-pidfile.ts';
import type { ExitInfo } from './process-log.ts';
import { endProcess, type StopStep, whenGone } from './process-table.ts';
import { startCommand } from './processes.ts';
import { type OnProgress, withProgress } from './progress.ts';

/** Where Postgres listens. */
export const POSTGRES_PORT: PortSpec = { what: 'Postgres', variable: 'STEWARD_POSTGRES_PORT', fallback: 54_320 };

/** The database everything of Steward's is in. */
export const DATABASE = 'steward';

/** The first account in the database; only the launcher and the migrations use it. */
export const SUPERUSER = 'postgres';

const INITDB_MS = 120_000;
const START_MS = 60_000;
const ADOPT_MS = 5_000;
// Fast shutdown breaks off sessions and checkpoints; immediate leaves the recovery to the next start.
const STOP: readonly StopStep[] = [
  { signal: 'SIGINT', waitMs: 15_000 },
  { signal: 'SIGQUIT', waitMs: 5_000 },
  { signal: 'SIGKILL', waitMs: 5_000 },
];

/** What `startPostgres` needs to know. */
export interface PostgresOptions {
  readonly paths: DevPaths;
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly onProgress?: OnProgress;
  readonly signal?: AbortSignal | undefined;
  /** The platform package to take the programs from; found where it is left out. */
  readonly source?: PostgresPackage;
}

/** A Postgres to use. */
export interface RunningPostgres {
  /** With user and password: a secret. */
  readonly url: string;
  readonly port: number;
  /** external: DATABASE_URL; adopted: left running by a killed launcher; started: by this call. */
  readonly source: 'external' | 'adopted' | 'started';
  /** Of the server's first process, where it is not external. */
  readonly pid?: number;
  /** Resolves when it ends, asked or not; never for an external one. */
  readonly exited: Promise<ExitInfo>;
  /** Ends what was started or adopted and waits for it; data is kept. Safe to repeat. */
  stop(): Promise<void>;
}

/**
 * Brings up Postgres and returns once it answers and the database is there.
 *
 * @throws StewardError with what to do: a taken port, no account to run as, an unreachable directory, a server that
 *   does not come up (with the last lines of its log), a DATABASE_URL that does not answer.
 */
export async function startPostgres(options: PostgresOptions): Promise<RunningPostgres> {
  const { paths, env = process.env, onProgress = () => undefined } = options;
  const external = env.DATABASE_URL;
  if (external !== undefined && external !== '') return useExternal(external, onProgress);

  const data = join(await realpath(paths.postgres), 'data');
  const account = await postgresAccount(env, data);
  await assertReachable(paths.postgres, account);
  const source = options.source ?? (await findPostgresPackage());
  const binaries = await preparePostgresBinaries(paths, source, account, onProgress);
  const password = await prepareData(paths, data, binaries, account, onProgress);
  const port = await portOf(POSTGRES_PORT, env);

  const launch: Launch = { program: binaries.postgres, args: argumentsFor(data, port), account, port, password };

  const left = findPostmaster(data);
  if (left !== undefined) {
    const adopted = await adopt(left, launch);
    if (adopted !== undefined) return adopted;
    onProgress(`Stopping a Postgres that an earlier start left behind (process ${left.pid})`);
    if (!(await endProcess(left, STOP))) {
      throw new StewardError('WRONG_STATE', `Postgres of an earlier start (process ${left.pid}) could not be ended.`);
    }
  }
  clearStalePidFile(data);
  await assertPortFree(port, POSTGRES_PORT);
  return start(options, launch);
}

interface Launch {
  readonly program: string;
  readonly args: readonly string[];
  readonly account: Account | undefined;
  readonly port: number;
  readonly password: string;
}

function argumentsFor(data: string, port: number): readonly string[] {
  const settings = {
    listen_addresses: LOOPBACK,
    port: String(port),
    // No socket file: nothing to collide in /tmp, and no way in but the password.
    unix_socket_directories: '',
    max_connections: '200',
    fsync: 'on',
    timezone: 'UTC',
    log_timezone: 'UTC',
  };
  return ['-D', data, ...Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`])];
}

async function start(options: PostgresOptions, launch: Launch): Promise<RunningPostgres> {
  const { port, password } = launch;
  const child = await startCommand(options.paths, {
    name: 'postgres',
    command: launch.program,
    args: launch.args,
    env: programEnvironment(),
    cwd: '/',
    account: launch.account,
    // Its own pid file is the record.
    recorded: false,
  });
  try {
    const serving = waitUntilServing(child, urlOf(port, password, 'postgres'), START_MS, options.signal);
    await withProgress(options.onProgress ?? (() => undefined), 'Starting Postgres', serving);
    await ensureDatabase(urlOf(port, password, 'postgres'), DATABASE);
  } catch (error) {
    await child.stop(STOP);
    throw error;
  }
  const stop = () => child.stop(STOP);
  const { pid, exited } = child;
  return { url: urlOf(port, password, DATABASE), port, source: 'started', pid, exited, stop };
}

/** Takes over a live server of our data directory if it is as we would start it; else undefined. */
async function adopt(left: Postmaster, launch: Launch): Promise<RunningPostgres | undefined> {
  const { port, password } = launch;
  if (left.command !== [launch.program, ...launch.args].join(' ')) return undefined;
  const answer = await probe(urlOf(port, password, 'postgres'), ADOPT_MS);
  if (answer !== 'serving') return undefined;
  await ensureDatabase(urlOf(port, password, 'postgres'), DATABASE);
  return {
    url: urlOf(port, password, DATABASE),
    port,
    source: 'adopted',
    pid: left.pid,
    exited: whenGone(left).then(() => ({ code: null, signal: null })),
    stop: async () => {
      if (!(await endProcess(left, STOP))) {
        throw new StewardError('INTERNAL', `Postgres (process ${left.pid}) could not be ended.`);
      }
    },
  };
}

async function useExternal(url: string, onProgress: OnProgress): Promise<RunningPostgres> {
  const answer = await withProgress(onProgress, 'Waiting for the Postgres of DATABASE_URL', probe(url, ADOPT_MS));
  if (answer !== 'serving') {
    const message = `DATABASE_URL is set, but that Postgres does not answer: ${answer}. Correct it, or unset it.`;
    throw new StewardError('UNAVAILABLE', message);
  }
  return {
    url,
    port: Number(new URL(url).port || 5432),
    source: 'external',
    exited: new Promise(() => undefined),
    stop: () => Promise.resolve(),
  };
}

/** Makes the data directory at first start, whole or not at all. Returns the superuser's password. */
async function prepareData(
  paths: DevPaths,
  data: string,
  binaries: PostgresBinaries,
  account: Account | undefined,
  onProgress: OnProgress,
): Promise<string> {
  const secret = join(paths.postgres, 'superuser-password');
  const version = await readFile(join(data, 'PG_VERSION'), 'utf8').catch(() => undefined);
  if (version !== undefined) {
    if (version.trim() !== binaries.major) {
      const message = `${data} was written by Postgres ${version.trim()}; this release brings ${binaries.major}.`;
      throw new StewardError('WRONG_STATE', `${message} Move it away to start with empty data.`);
    }
    const kept = await readFile(secret, 'utf8').catch(() => '');
    if (kept !== '') return kept.trim();
    const message = `${secret} is missing, and without it the data beside it cannot be opened. Put it back, or move`;
    throw new StewardError('WRONG_STATE', `${message} ${data} away to start with empty data.`);
  }
  const password = randomBytes(24).toString('base64url');
  await writeFile(secret, `${password}\n`, { mode: 0o600 });
  await withProgress(onProgress, 'Creating the database', initialize(data, password, binaries, account));
  return password;
}

async function initialize(
  data: string,
  password: string,
  binaries: PostgresBinaries,
  account: Account | undefined,
): Promise<void> {
  const part = `${data}.part`;
  const passwordFile = `${data}.password`;
  await rm(data, { recursive: true, force: true });
  await rm(part, { recursive: true, force: true });
  try {
    await mkdir(part, { mode: 0o700 });
    await chmod(part, 0o700);
    await writeFile(passwordFile, password, { mode: 0o600 });
    if (account !== undefined) {
      await chown(part, account.uid, account.gid);
      await chown(passwordFile, account.uid, account.gid);
    }
    const choices = ['--auth=scram-sha-256', '--encoding=UTF8', '--locale-provider=builtin', '--locale=C'];
    await promisify(execFile)(
      binaries.initdb,
      [
        `--pgdata=${part}`,
        `--username=${SUPERUSER}`,
        `--pwfile=${passwordFile}`,
        '--builtin-locale=C.UTF-8',
        ...choices,
      ],
      {
        timeout: INITDB_MS,
        cwd: '/',
        env: programEnvironment(),
        ...(account === undefined ? {} : { uid: account.uid, gid: account.gid }),
      },
    );
    await rename(part, data);
  } catch (cause) {
    const said = (cause as { stderr?: string }).stderr?.trim().split('\n').slice(-5).join('\n');
    throw new StewardError('UNAVAILABLE', `Postgres could not create its data in ${data}: ${said || cause}`, { cause });
  } finally {
    await rm(passwordFile, { force: true });
  }
}

function urlOf(port: number, password: string, database: string): string {
  return `postgres://${SUPERUSER}:${password}@${LOOPBACK}:${port}/${database}`;
}

/** Nothing of ours reaches the server: variables such as PGDATA and PGOPTIONS would change what it does. */
function programEnvironment(): Record<string, string> {
  return { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' };
}
