/** What is missing for the embedded default on this machine, and how to get it. Starts no server. */

import { readFile, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { lockHome } from './lock.ts';
import { modelProviders } from './model-providers.ts';
import { type DevPaths, preparePaths, REPOSITORY, resolvePaths } from './paths.ts';
import { assertPortFree, type PortSpec, portOf } from './ports.ts';
import { POSTGRES_PORT } from './postgres.ts';
import { assertReachable, describeAccount, postgresAccount } from './postgres-account.ts';
import { findPostgresPackage, preparePostgresBinaries } from './postgres-binaries.ts';
import { probe } from './postgres-client.ts';
import { findPostmaster } from './postgres-pidfile.ts';
import { readRecord, recordedNames } from './process-table.ts';
import { knownTemporal } from './temporal-binary.ts';
import { findGo, GO_NEEDED } from './temporal-build.ts';
import { readTemporalDev, type TemporalDev, temporalPorts } from './temporal-config.ts';

const NODE_MAJOR = 24;
const DISK_BYTES = 1e9;
const BUILD_DISK_BYTES = 5e9;
const PROBE_MS = 3_000;

/** One thing that was looked at. */
export interface Finding {
  readonly name: string;
  readonly ok: boolean;
  /** What was found. */
  readonly detail: string;
  /** What to do; empty where nothing is wrong. */
  readonly fix: string;
}

/** What to look at. */
export interface DoctorOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Ports of Steward's own services, which are looked at beside those of Temporal and Postgres. */
  readonly ports?: readonly PortSpec[];
}

type Env = Readonly<Record<string, string | undefined>>;

/** Looks at everything the embedded default needs. Never throws for what it finds; each finding says what to do. */
export async function doctor(options: DoctorOptions = {}): Promise<Finding[]> {
  const { env = process.env } = options;
  const [paths, dev] = [await resolvePaths(env), await readTemporalDev()];
  const findings = [checkNode(), await checkPackages(), await attempt('data directory', () => checkPlaces(paths))];
  const usable = findings.at(-1)?.ok === true;
  if (usable) {
    findings.push(
      await attempt('disk space', () => checkDisk(paths, dev, env)),
      await attempt('postgres', () => checkPostgres(paths, env)),
      await attempt('temporal', () => checkTemporal(paths, dev, env)),
    );
  }
  findings.push(await attempt('go', () => checkGo(env)));
  if (usable) findings.push(...(await checkPorts(paths, dev, env, options.ports ?? [])));
  findings.push(checkModelKey(env));
  return findings;
}

function fine(name: string, detail: string): Finding {
  return { name, ok: true, detail, fix: '' };
}

/** Errors in this folder say what is wrong in their first sentence and what to do in the others. */
async function attempt(name: string, check: () => Promise<Finding>): Promise<Finding> {
  try {
    return await check();
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    const end = message.search(/\. [A-Z]/);
    if (end < 0) return { name, ok: false, detail: message, fix: 'See the message.' };
    return { name, ok: false, detail: message.slice(0, end + 1), fix: message.slice(end + 2) };
  }
}

function checkNode(): Finding {
  const detail = `${process.version} at ${process.execPath}`;
  if (Number(process.versions.node.split('.')[0]) >= NODE_MAJOR) return fine('node', detail);
  const fix = `Run through npm (npm start, npm run steward -- …): the lockfile brings Node ${NODE_MAJOR}.`;
  return { name: 'node', ok: false, detail, fix };
}

async function checkPackages(): Promise<Finding> {
  const read = async (file: string) => JSON.parse(await readFile(join(REPOSITORY, file), 'utf8'));
  const { dependencies } = (await read('package.json')) as { dependencies: Record<string, string> };
  const wrong: string[] = [];
  for (const [name, wanted] of Object.entries(dependencies)) {
    const found = (await read(`node_modules/${name}/package.json`).catch(() => undefined)) as
      | { version: string }
      | undefined;
    if (found?.version !== wanted) wrong.push(`${name} (${found?.version ?? 'missing'}, wanted ${wanted})`);
  }
  if (wrong.length === 0) return fine('packages', `all ${Object.keys(dependencies).length} as in package.json`);
  return { name: 'packages', ok: false, detail: wrong.join(', '), fix: 'Run "npm ci".' };
}

async function checkPlaces(paths: DevPaths): Promise<Finding> {
  await preparePaths(paths);
  return fine('data directory', `${paths.home}, binaries in ${paths.cache}`);
}

async function checkDisk(paths: DevPaths, dev: TemporalDev, env: Env): Promise<Finding> {
  const builds = (await knownTemporal({ paths, dev, env })) === undefined;
  for (const [place, needed] of [
    [paths.home, DISK_BYTES],
    [paths.cache, builds ? BUILD_DISK_BYTES : DISK_BYTES],
  ] as const) {
    const { bavail, bsize } = await statfs(place);
    const free = bavail * bsize;
    if (free >= needed) continue;
    const detail = `${gigabytes(free)} free at ${place}, ${gigabytes(needed)} needed`;
    return { name: 'disk space', ok: false, detail, fix: 'Free some, or set STEWARD_HOME or STEWARD_CACHE.' };
  }
  return fine('disk space', `enough at ${paths.home} and ${paths.cache}`);
}

async function checkPostgres(paths: DevPaths, env: Env): Promise<Finding> {
  if (env.DATABASE_URL) {
    const answer = await probe(env.DATABASE_URL, PROBE_MS);
    if (answer === 'serving') return fine('postgres', 'DATABASE_URL answers');
    const detail = `DATABASE_URL does not answer: ${answer}`;
    return { name: 'postgres', ok: false, detail, fix: 'Correct DATABASE_URL, or unset it.' };
  }
  const account = await postgresAccount(env, join(paths.postgres, 'data'));
  await assertReachable(paths.postgres, account);
  const source = await findPostgresPackage();
  const { postgres } = await preparePostgresBinaries(paths, source, account, () => undefined);
  return fine('postgres', `${source.version}, run by ${describeAccount(account)} from ${postgres}`);
}

async function checkTemporal(paths: DevPaths, dev: TemporalDev, env: Env): Promise<Finding> {
  const notes: string[] = [];
  const found = await knownTemporal({ paths, dev, env, onProgress: (line) => notes.push(`; ${line}`) });
  if (found?.kind === 'external') return fine('temporal', `TEMPORAL_ADDRESS=${found.address}, nothing is started`);
  if (found !== undefined) {
    const from = found.from === 'path' ? 'on the PATH' : 'in the cache';
    return fine('temporal', `${found.path} (${from})${notes.join('')}`);
  }
  const go = await findGo(env).catch(() => undefined);
  if (go !== undefined) return fine('temporal', `will be downloaded, or built once with ${go}${notes.join('')}`);
  return {
    name: 'temporal',
    ok: false,
    detail: `not on the PATH, not in the cache; a download will be tried${notes.join('')}`,
    fix: `Install the Temporal CLI ${dev.cli} or newer, or Go ${GO_NEEDED} or newer, or set TEMPORAL_ADDRESS.`,
  };
}

/** Go is one way of three to a Temporal: its absence is worth knowing and no fault. */
async function checkGo(env: Env): Promise<Finding> {
  return findGo(env).then(
    (version) => fine('go', version),
    (error: Error) => fine('go', `${error.message}: needed only where Temporal must be built`),
  );
}

async function checkPorts(paths: DevPaths, dev: TemporalDev, env: Env, more: readonly PortSpec[]): Promise<Finding[]> {
  const own = await whoIsHere(paths);
  const temporal = env.TEMPORAL_ADDRESS ? [] : Object.values(temporalPorts(dev));
  const postgres = env.DATABASE_URL ? [] : [POSTGRES_PORT];
  const check = async (spec: PortSpec): Promise<Finding> => {
    const name = `port of ${spec.what}`;
    return attempt(name, async () => {
      const port = await portOf(spec, env);
      const taken = await assertPortFree(port, spec).then(
        () => undefined,
        (error: unknown) => error,
      );
      if (taken === undefined) return fine(name, `${port} is free`);
      if (own === undefined) throw taken;
      return fine(name, `${port} is taken, ${own}`);
    });
  };
  return Promise.all([...temporal, ...postgres, ...more].map(check));
}

/** Why a taken port may be all right: Steward runs in this very data directory, or was killed and left things. */
async function whoIsHere(paths: DevPaths): Promise<string | undefined> {
  try {
    (await lockHome(paths.home)).release();
  } catch {
    return 'and Steward runs here';
  }
  const left = recordedNames(paths.run).filter((name) => readRecord(paths.run, name) !== undefined);
  if (findPostmaster(join(paths.postgres, 'data')) !== undefined) left.push('postgres');
  return left.length === 0 ? undefined : `and an earlier start left ${left.join(', ')} behind, which the next will end`;
}

function checkModelKey(env: Env): Finding {
  const given = modelProviders(env);
  if (given.length > 0) return fine('model provider', `${given.join(', ')} set: real models are used`);
  return fine('model provider', 'neither ANTHROPIC_API_KEY nor OPENAI_API_KEY is set: the offline model is used');
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}
