import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AuditOptions } from './options.ts';
import type { AuditWorld } from './world.ts';

const READY_MS = 30_000;
const END_MS = 120_000;
const PROCESSES = join(import.meta.dirname, 'processes');

/** What was found after processes were killed. */
export interface CrashFigures {
  readonly effects: number;
  readonly kills: number;
  /** Effects in the state tables without an entry, and entries that were not sealed once all was quiet. */
  readonly missing: number;
  /** Entries of effects that did not take place, or a second time. */
  readonly tooMany: number;
  /** What the verifier found. */
  readonly damage: number;
}

/** Ends calls in one process and seals in two, killing one of them at a random moment again and again. */
export async function crash(
  world: AuditWorld,
  options: Pick<AuditOptions, 'kills' | 'calls'>,
  random: () => number,
): Promise<CrashFigures> {
  const tenant = await world.database.tenant();
  const run = await world.database.run(tenant);
  await world.database.query(
    `insert into steward.agent_run_tool_invocations (tenant, run_id, call_id, turn, ordinal, provider_id, catalog, tool,
       digest, key, sig, verdict, policy_set_hash, has_effect, state, attempts)
     select $1, $2, n || '.0', n, 0, 'p', 'orders', 'refund', repeat('d', 64), $2 || '/' || n, 's', 'allow', 'p', true,
       'started', 1 from generate_series(1, $3::int) n`,
    [tenant, run, options.calls],
  );
  const url = await world.database.urlAs('steward_worker');
  const start = {
    writer: () => startProcess('writer.ts', [url, world.key.jwksPath, tenant, run]),
    sealer: () => startProcess('sealer.ts', [url, world.key.privatePath, join(world.directory, 'anchors')]),
  };
  const roles = ['writer', 'sealer', 'sealer'] as const;
  const running = await Promise.all(roles.map((role) => start[role]()));
  let kills = 0;
  try {
    for (let strike = 0; strike < options.kills; strike += 1) {
      const which = strike % roles.length;
      const [victim, role] = [running[which], roles[which]];
      if (!victim || !role) break;
      await sleep(20 + random() * 150);
      // One that is through already is not counted.
      if (await killed(victim)) kills += 1;
      running[which] = await start[role]();
    }
    await over(world, run);
  } finally {
    await Promise.all(running.map(killed));
  }
  await world.seal(tenant);
  const counts = await count(world, tenant, run);
  const { damage } = await world.verify(tenant);
  return { ...counts, kills, damage: damage.length };
}

async function startProcess(file: string, args: readonly string[]): Promise<ChildProcess> {
  const child = spawn(process.execPath, [join(PROCESSES, file), ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  try {
    await once(child.stdout, 'data', { signal: AbortSignal.timeout(READY_MS) });
  } catch (error) {
    child.kill('SIGKILL');
    throw error;
  }
  return child;
}

async function killed(child: ChildProcess): Promise<boolean> {
  if (child.exitCode !== null || child.signalCode !== null) return false;
  const gone = once(child, 'exit');
  child.kill('SIGKILL');
  await gone;
  return true;
}

/** Waits until the last writer has ended all calls. */
async function over({ database }: AuditWorld, run: string): Promise<void> {
  const text = "select count(*) as n from steward.agent_run_tool_invocations where run_id = $1 and state = 'started'";
  for (const end = Date.now() + END_MS; Date.now() < end; await sleep(50)) {
    const [row] = await database.query(text, [run]);
    if (Number(row?.n) === 0) return;
  }
  throw new Error('the calls did not come to an end');
}

async function count({ database }: AuditWorld, tenant: string, run: string) {
  const [row] = await database.query(
    `with done as (select call_id from steward.agent_run_tool_invocations where run_id = $2 and state = 'done'),
       told as (select id, call_id from steward.audit_log where tenant = $1 and action = 'call.effect')
     select (select count(*) from done) as effects,
       (select count(*) from done d where not exists (select from told t where t.call_id = d.call_id)) as silent,
       (select count(*) from told) - (select count(distinct t.call_id) from told t join done using (call_id)) as too_many,
       (select count(*) from steward.audit_log l where l.tenant = $1
         and not exists (select from steward.audit_chain c where c.tenant = $1 and c.audit_id = l.id)) as unsealed`,
    [tenant, run],
  );
  const { effects, silent, too_many, unsealed } = row ?? {};
  return { effects: Number(effects), missing: Number(silent) + Number(unsealed), tooMany: Number(too_many) };
}
