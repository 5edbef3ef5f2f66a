import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import pg from 'pg';
import { REPOSITORY } from '#deploy/dev/paths.ts';
import { startService } from '#deploy/dev/processes.ts';
import { historyOf } from '../history.ts';
import type { Stand } from '../stand.ts';
import { playRun, taskOf } from '../turns.ts';
import type { Contender } from './contenders.ts';
import { PEERS, versionOf } from './install.ts';
import { type RestateServer, startRestate } from './restate.ts';

/** A contender that runs. */
export interface Running {
  readonly contender: Contender;
  readonly version: string;
  /** The database it writes to. */
  readonly database: string;
  /** Plays a run of so many turns to its end; returns its id. */
  play(turns: number): Promise<string>;
  /** Throws where a run has not had one effect a turn. */
  assertDone(run: string, turns: number): Promise<void>;
  /** Bytes of a run's history in Temporal. */
  history(run: string): Promise<number>;
  /** Bytes in Restate's log so far. */
  restateLog(): Promise<number>;
  stop(): Promise<void>;
}

const READY_MS = 120_000;
const START_MS = 30_000;
/** A turn that takes longer is no turn. */
const TURN_MS = 3_000;
const EFFECTS = `create table effects (
  run text not null, call text not null, project text not null, title text not null,
  at timestamptz not null default now(), primary key (run, call))`;

/** Steward itself. */
export async function startSteward(stand: Stand, contender: Contender): Promise<Running> {
  const { rows } = await stand.database.query<{ name: string }>('select current_database() as name');
  return {
    contender,
    version: await ownVersion(),
    database: rows[0]?.name ?? '',
    play: (turns) => playRun(stand, turns),
    async assertDone(run, turns) {
      const found = await stand.database.query<{ status: string; done: number }>(
        `select r.status, (select count(*)::int from steward.agent_run_tool_invocations i
           where i.run_id = r.id and i.state = 'done') as done
         from steward.agent_runs r where r.id = $1`,
        [run],
      );
      const { status, done } = found.rows[0] ?? {};
      if (status !== 'completed' || done !== turns) {
        throw new Error(`Run ${run} was to make ${turns} calls and ended as ${status} after ${done}.`);
      }
    },
    history: async (run) => (await historyOf(stand.temporal, `run/${run}`)).bytes,
    restateLog: async () => 0,
    stop: async () => {},
  };
}

/** A peer: its process, its database and, for Restate, its server. Throws saying why it cannot run here. */
export async function startPeer(stand: Stand, contender: Contender, env: NodeJS.ProcessEnv): Promise<Running> {
  const { name, packages } = contender;
  const versions = await Promise.all(packages.map(versionOf));
  const missing = packages.find((_, at) => versions[at] === undefined);
  if (missing !== undefined) throw new Error(`${missing} is not installed in bench/peers`);
  const undo: (() => Promise<unknown>)[] = [];
  const stop = async () => {
    for (const step of undo.splice(0).toReversed()) await step();
  };
  try {
    const database = `bench_peer_${name.replaceAll('-', '_')}`;
    const pool = await openDatabase(stand, database, undo);
    const server = name === 'restate' ? await startRestate(stand) : undefined;
    undo.push(async () => server?.stop());
    const service = await startService(stand.paths, {
      name: `bench-${name}`,
      entry: join(PEERS, `${name}.ts`),
      env: { ...peerEnvironment(stand, env, server), DATABASE_URL: urlOf(stand, database) },
      readyMs: READY_MS,
      signal: stand.signal,
    });
    undo.push(() => service.stop());
    const { address } = service.ready as { address: string };
    return {
      contender,
      version: packages.map((each, at) => (at === 0 ? versions[at] : `${each} ${versions[at]}`)).join(', '),
      database,
      play: (turns) => playPeer(stand, address, turns),
      async assertDone(run, turns) {
        const { rows } = await pool.query<{ n: number }>('select count(*)::int as n from effects where run = $1', [
          run,
        ]);
        if (rows[0]?.n !== turns) throw new Error(`${name} has had ${rows[0]?.n} effects of ${turns}.`);
      },
      history: async (run) => (name === 'ai-sdk' ? (await historyOf(stand.temporal, `${name}/${run}`)).bytes : 0),
      restateLog: async () => (await server?.logged()) ?? 0,
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

function peerEnvironment(stand: Stand, env: NodeJS.ProcessEnv, server: RestateServer | undefined) {
  return {
    ANTHROPIC_API_KEY: undefined,
    ANTHROPIC_BASE_URL: stand.model,
    TEMPORAL_ADDRESS: stand.servers.temporal,
    TEMPORAL_NAMESPACE: stand.servers.namespace,
    TEMPORAL_API_KEY: env.TEMPORAL_API_KEY,
    RESTATE_ADMIN: server?.admin,
    RESTATE_INGRESS: server?.ingress,
    // Nothing of a benchmark leaves the machine.
    LANGSMITH_TRACING: 'false',
    LANGCHAIN_TRACING_V2: 'false',
  };
}

async function playPeer(stand: Stand, address: string, turns: number): Promise<string> {
  const run = crypto.randomUUID();
  const text = `script: bench-turns\n${taskOf(stand, turns, 0)}`;
  const response = await fetch(address, {
    method: 'POST',
    body: JSON.stringify({ run, text, turns }),
    signal: AbortSignal.any([stand.signal, AbortSignal.timeout(START_MS + turns * TURN_MS)]),
  });
  if (!response.ok) throw new Error(await response.text());
  return run;
}

async function openDatabase(stand: Stand, name: string, undo: (() => Promise<unknown>)[]): Promise<pg.Pool> {
  const drop = `drop database if exists ${name} with (force)`;
  await stand.database.query(drop);
  await stand.database.query(`create database ${name}`);
  undo.push(() => stand.database.query(drop));
  const pool = new pg.Pool({ connectionString: urlOf(stand, name), max: 1, statement_timeout: 60_000 });
  pool.on('error', () => {});
  undo.push(() => pool.end());
  await pool.query(EFFECTS);
  return pool;
}

function urlOf(stand: Stand, database: string): string {
  const url = new URL(stand.servers.databaseUrl);
  url.pathname = `/${database}`;
  return url.href;
}

async function ownVersion(): Promise<string> {
  const manifest = JSON.parse(await readFile(join(REPOSITORY, 'package.json'), 'utf8')) as { version: string };
  return manifest.version;
}
