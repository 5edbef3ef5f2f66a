import { randomBytes } from 'node:crypto';
import { connectCatalogs } from '#platform/clients/catalogs.ts';
import type { Bench, BenchRun, RunOptions } from './bench.ts';

/** A closed run whose call 1.0 has written a note, and an undo of it as run-api would have written it. */
export interface UndoBench {
  readonly run: BenchRun;
  readonly undo: string;
  readonly catalogs: ReturnType<typeof connectCatalogs>;
  /** The undo's one step as it is now. */
  step(): Promise<Record<string, unknown>>;
  /** How often something was done under the undo's key. */
  timesUndone(): Promise<number>;
  set(table: 'agent_runs' | 'agent_run_tool_invocations' | 'agent_run_undo_steps', change: string): Promise<unknown>;
}

/** Plays a call to its effect through the bench's guard and catalog, closes the run, and asks for the undo. */
export async function undoOf(bench: Bench, options: RunOptions = {}): Promise<UndoBench> {
  const { database } = bench;
  const run = await bench.run(options);
  const { calls } = await run.judge([{ tool: 'write_note', args: { note_id: 'n1', text: 'Hi' } }]);
  const { callId = '', digest = '' } = calls[0] ?? {};
  const { runGrant } = run;
  const catalogs = connectCatalogs({
    addresses: { desk: bench.deskAddress },
    token: bench.workerToken,
  });
  bench.onStop(() => catalogs.close());
  const granted = await bench.worker.authorize({ runGrant, callId, digest });
  const done = await catalogs.execute('desk', { ...granted, runGrant, timeoutMs: 10_000 }, AbortSignal.timeout(10_000));
  if (done.kind !== 'receipt' || !done.undoable) throw new Error('no effect to undo');
  const set: UndoBench['set'] = (table, change) =>
    database.query(`update steward.${table} set ${change} where ${table === 'agent_runs' ? 'id' : 'run_id'} = $1`, [
      run.id,
    ]);
  await set('agent_run_tool_invocations', "state = 'done', undoable = true, ended_at = now()");
  await set('agent_runs', "status = 'completed', closed_at = now()");
  await database.query('update steward.agent_runs set run_grant = $2 where id = $1', [run.id, runGrant]);
  const undo = `u${randomBytes(8).toString('hex')}`;
  const own = [run.tenant, undo, run.id];
  await database.query(
    `insert into steward.agent_run_undos (tenant, id, run_id, request_id, call_ids, reason, requested_by)
     values ($1, $2, $3, $2, '{}', '', 'olga@acme')`,
    own,
  );
  await database.query(
    `insert into steward.agent_run_undo_steps (tenant, undo_id, run_id, call_id, ordinal, tool, state)
     values ($1, $2, $3, '1.0', 0, 'write_note', 'pending')`,
    own,
  );
  return {
    run,
    undo,
    catalogs,
    set,
    step: async () =>
      (await database.query('select * from steward.agent_run_undo_steps where undo_id = $1', [undo]))[0] ?? {},
    timesUndone: async () =>
      (await database.query("select 1 from desk.receipts where key = $1 and state = 'done'", [`${run.id}/1.0/undo`]))
        .length,
  };
}
