import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, chown, cp, lstat, mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { skipUnless } from '#test/support/skip.ts';
import { makeTestHome, type TestHome } from './fixtures/home.ts';
import { runParent } from './fixtures/run-parent.ts';
import { isRoot, preparePaths, resolvePaths } from './paths.ts';
import { freePort } from './ports.ts';
import { startPostgres } from './postgres.ts';
import { postgresAccount } from './postgres-account.ts';
import { findPostgresPackage, preparePostgresBinaries, readPackage } from './postgres-binaries.ts';
import { findPostmaster } from './postgres-pidfile.ts';
import { endProcess, findProcess, isRunning } from './process-table.ts';

let home: TestHome;
let data: string;
beforeAll(async () => {
  home = await makeTestHome();
  data = join(home.paths.postgres, 'data');
});
afterAll(async () => {
  const left = findPostmaster(data);
  if (left !== undefined) await endProcess(left, [{ signal: 'SIGQUIT', waitMs: 5_000 }]);
  await home.remove();
});

async function query(url: string, text: string): Promise<unknown[][]> {
  const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 5_000, query_timeout: 5_000 });
  await client.connect();
  try {
    return (await client.query<unknown[]>({ text, rowMode: 'array' })).rows;
  } finally {
    await client.end();
  }
}

function postmaster() {
  const found = findPostmaster(data);
  if (found === undefined) throw new Error('No Postgres runs.');
  return found;
}

test('starts on loopback behind a password, as safe as in production, and keeps its data', async () => {
  const first = await startPostgres(home);
  expect(first.source).toBe('started');
  await query(first.url, 'CREATE TABLE kept AS SELECT 7 AS number');
  const settings = `SELECT current_setting(name) FROM unnest(ARRAY['listen_addresses', 'unix_socket_directories', 'fsync',
    'full_page_writes', 'synchronous_commit', 'max_connections', 'data_checksums', 'server_encoding']) AS name`;
  const values = (await query(first.url, settings)).flat();
  expect(values).toEqual(['127.0.0.1', '', 'on', 'on', 'on', '200', 'on', 'UTF8']);
  await expect(query(first.url.replace(/:[^:@]+@/, ':wrong@'), 'SELECT 1')).rejects.toMatchObject({ code: '28P01' });
  expect((await stat(join(home.paths.postgres, 'superuser-password'))).mode & 0o777).toBe(0o600);
  expect((await stat(data)).mode & 0o777).toBe(0o700);
  await first.stop();
  await first.stop();

  const began = Date.now();
  const second = await startPostgres(home);
  expect(Date.now() - began).toBeLessThan(3_000);
  expect(second.url).toBe(first.url);
  expect(await query(second.url, 'SELECT number FROM kept')).toEqual([[7]]);
  await second.stop();
});

test('adopts the server of a killed launcher, and stops it like its own', async () => {
  const parent = await runParent('postgres', home.env);
  await parent.kill();
  const ref = postmaster();
  expect(ref.pid).toBe(parent.pid);
  const adopted = await startPostgres(home);
  expect(adopted.source).toBe('adopted');
  expect(await query(adopted.url, 'SELECT 1')).toEqual([[1]]);
  await adopted.stop();
  await adopted.exited;
  expect(isRunning(ref)).toBe(false);
});

test('replaces the server of a killed launcher where other settings are wanted', async () => {
  const parent = await runParent('postgres', home.env);
  await parent.kill();
  const ref = postmaster();
  const env = { ...home.env, STEWARD_POSTGRES_PORT: String(await freePort()) };
  const moved = await startPostgres({ ...home, env });
  expect(moved.source).toBe('started');
  expect(isRunning(ref)).toBe(false);
  expect(String(moved.port)).toBe(env.STEWARD_POSTGRES_PORT);
  await moved.stop();
});

test('recovers after its own kill -9, and after its old pid went to another process', async () => {
  const first = await startPostgres(home);
  await query(first.url, 'CREATE TABLE before_crash AS SELECT 1 AS number');
  const pidFile = await readFile(join(data, 'postmaster.pid'), 'utf8');
  process.kill(postmaster().pid, 'SIGKILL');
  await first.exited;
  const second = await startPostgres(home);
  expect(second.source).toBe('started');
  expect(await query(second.url, 'SELECT number FROM before_crash')).toEqual([[1]]);
  await second.stop();

  // As the account of Postgres, since Postgres itself ignores the processes of others.
  const account = await postgresAccount(home.env);
  const stranger = spawn('/bin/sh', ['-c', 'echo up; read wait'], {
    stdio: ['pipe', 'pipe', 'ignore'],
    ...(account === undefined ? {} : { uid: account.uid, gid: account.gid }),
  });
  try {
    await once(stranger.stdout, 'data');
    const stale = join(data, 'postmaster.pid');
    await writeFile(stale, pidFile.replace(/^\d+/, String(stranger.pid)), { mode: 0o600 });
    if (account !== undefined) await chown(stale, account.uid, account.gid);
    const third = await startPostgres(home);
    expect(third.source).toBe('started');
    expect(findProcess(stranger.pid as number)).toBeDefined();
    await third.stop();
  } finally {
    stranger.kill('SIGKILL');
  }
});

test('names a taken port', async () => {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as { port: number };
  const env = { ...home.env, STEWARD_POSTGRES_PORT: String(port) };
  await expect(startPostgres({ ...home, env })).rejects.toThrow(
    new RegExp(`Port ${port}, wanted for Postgres.*STEWARD_POSTGRES_PORT`),
  );
  await new Promise((done) => server.close(done));
});

test('uses DATABASE_URL and starts nothing; says so when it does not answer', async () => {
  const server = await startPostgres(home);
  const other = await makeTestHome({ DATABASE_URL: server.url });
  const external = await startPostgres(other);
  expect(external).toMatchObject({ source: 'external', url: server.url, port: server.port });
  await external.stop();
  expect(await query(server.url, 'SELECT 1')).toEqual([[1]]);
  expect(await readdir(other.paths.postgres)).toEqual([]);
  await server.stop();
  await expect(startPostgres(other)).rejects.toThrow(/DATABASE_URL is set, but that Postgres does not answer/);
  await other.remove();
});

test('does not start on data whose password was lost, or of another version', async () => {
  const lost = await makeTestHome();
  const old = join(lost.paths.postgres, 'data');
  const { major } = await preparePostgresBinaries(
    home.paths,
    await findPostgresPackage(),
    await postgresAccount(home.env),
    () => undefined,
  );
  await mkdir(old);
  await writeFile(join(old, 'PG_VERSION'), `${major}\n`);
  await expect(startPostgres(lost)).rejects.toThrow(/superuser-password is missing/);
  await writeFile(join(old, 'PG_VERSION'), '9\n');
  await expect(startPostgres(lost)).rejects.toThrow(new RegExp(`written by Postgres 9; this release brings ${major}`));
  await lost.remove();
});

test('runs from a closed repository whose install scripts never ran; many starters prepare it once', async () => {
  const closed = await mkdtemp(join(tmpdir(), 'steward-closed-'));
  const cache = await mkdtemp(join(tmpdir(), 'steward-cache-'));
  const installed = await findPostgresPackage();
  const directory = join(closed, 'package');
  await cp(installed.directory, directory, { recursive: true, verbatimSymlinks: true });
  for (const name of await readdir(join(directory, 'native', 'lib'))) {
    const file = join(directory, 'native', 'lib', name);
    if ((await lstat(file)).isSymbolicLink()) await rm(file);
  }
  await chmod(closed, 0o700);
  const own = await makeTestHome({ STEWARD_CACHE: cache, HOME: closed });
  const source = await readPackage(directory);
  const account = await postgresAccount(own.env);
  const many = Array.from({ length: 4 }, () => preparePostgresBinaries(own.paths, source, account, () => undefined));
  expect(new Set((await Promise.all(many)).map((found) => found.postgres)).size).toBe(1);
  expect((await readdir(cache)).filter((name) => name.includes('.part'))).toEqual([]);
  const server = await startPostgres({ ...own, source });
  expect(await query(server.url, 'SELECT current_user')).toEqual([['postgres']]);
  await server.stop();
  await own.remove();
  await rm(closed, { recursive: true });
  await rm(cache, { recursive: true });
});

skipUnless('only root drops to another account', isRoot())('as root, names the directory that is closed', async () => {
  const closed = await mkdtemp(join(tmpdir(), 'steward-closed-'));
  const env = { ...home.env, STEWARD_HOME: join(closed, 'home') };
  const paths = await resolvePaths(env);
  await preparePaths(paths);
  await expect(startPostgres({ paths, env })).rejects.toThrow(
    new RegExp(`cannot reach .*, because ${closed} is closed to others\\. Set STEWARD_HOME`),
  );
  await rm(closed, { recursive: true });
});

skipUnless('only root drops to another account', isRoot())(
  'as root, keeps to the account that owns the data',
  async () => {
    const own = await makeTestHome({ STEWARD_POSTGRES_USER: 'nobody' });
    const first = await startPostgres(own);
    await first.stop();
    const second = await startPostgres({ ...own, env: { ...own.env, STEWARD_POSTGRES_USER: '' } });
    expect(second.source).toBe('started');
    await second.stop();
    await own.remove();
  },
);
