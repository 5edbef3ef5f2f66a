import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { ApplicationFailure } from '@temporalio/common';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { StewardError } from '#domain/errors.ts';
import type { UndoCatalogPort, UndoGuardPort } from '#domain/ports/undo.ts';
import type { UndoCallInput } from '#domain/undo.ts';
import { connectGuard } from '#platform/clients/guard.ts';
import { type Connection, connect } from '#platform/database/connect.ts';
import type { Database } from '#platform/database/tables.ts';
import { createUndoStore } from '#platform/database/undos.ts';
import { runGrantVerifier } from '#platform/identity/grants.ts';
import { type Bench, guardBench } from '#test/support/guard/bench.ts';
import { deskTools } from '#test/support/guard/desk.ts';
import { type UndoBench, undoOf } from '#test/support/guard/undo.ts';
import { createUndoCall, UNDO_ATTEMPTS } from './undo-call.ts';

let bench: Bench;
let pool: Connection<Database>;
let guard: ReturnType<typeof connectGuard>;

beforeAll(async () => {
  bench = await guardBench();
  pool = connect<Database>(await bench.database.urlAs('steward_worker'));
  guard = connectGuard({ address: bench.address, token: bench.workerToken });
}, 180_000);

afterAll(async () => {
  guard.close();
  await pool.close();
  await bench.stop();
}, 30_000);

interface Around {
  readonly guard?: UndoGuardPort;
  readonly catalogs?: Partial<UndoCatalogPort>;
  readonly laterMs?: number;
  readonly giveUp?: boolean;
}

/** One attempt of the real activity, its ports the real ones but for what is put around them. */
async function attempt(of: UndoBench, around: Around = {}) {
  const store = createUndoStore({
    db: pool.db,
    grants: runGrantVerifier(bench.keys.runApi.jwks),
    notifier: { wake: () => undefined },
  });
  const undoCall = createUndoCall({
    store,
    guard: around.guard ?? guard,
    catalogs: { ...of.catalogs, ...around.catalogs },
    log: { warn: () => undefined },
    now: () => Date.now() + (around.laterMs ?? 0),
  });
  const { tenant, id: run } = of.run;
  const input: UndoCallInput = { tenant, run, undo: of.undo, call: '1.0', ...(around.giveUp ? { giveUp: true } : {}) };
  return new MockActivityEnvironment({}, { logger: new DefaultLogger('ERROR') }).run(undoCall, input);
}

async function failureOf(work: Promise<unknown>): Promise<ApplicationFailure> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (error instanceof ApplicationFailure) return error;
  throw new Error(`expected a failure, got ${String(error)}`);
}

const events = async (of: UndoBench) => (await of.run.rows('events')).filter((event) => event.kind.startsWith('undo.'));
const cutOff = new StewardError('CATALOG_UNAVAILABLE', 'Catalog desk cannot be reached.');
const away = { resolve: () => Promise.reject(cutOff), undo: () => Promise.reject(cutOff) };

test('undoes under the key of its own, says so in journal and audit, and once ended stays so', async () => {
  const of = await undoOf(bench);
  expect(await attempt(of)).toEqual({ state: 'undone' });
  expect(await of.timesUndone()).toBe(1);
  const { digest, ...step } = await of.step();
  expect(step).toMatchObject({ state: 'undone', attempts: 1, change: { summary: 'unwrite' }, error_code: null });
  expect(await events(of)).toMatchObject([
    { kind: 'undo.done', call_id: '1.0', data: { undo: of.undo, tool: 'write_note', repeated: false } },
  ]);
  expect((await of.run.rows('audit')).at(-1)).toMatchObject({
    actor: 'olga@acme',
    action: 'undo.undone',
    call_id: '1.0',
    digest,
    data: { undo: of.undo, tool: 'write_note' },
  });
  expect(await attempt(of, { guard: { authorizeUndo: () => Promise.reject(cutOff) } })).toEqual({ state: 'undone' });
  expect(await events(of)).toHaveLength(1);
});

test('an undo whose answer was lost is found by its receipt, and not sent again', async () => {
  const of = await undoOf(bench);
  let sent = 0;
  const lost: Partial<UndoCatalogPort> = {
    async undo(...all) {
      sent += 1;
      await of.catalogs.undo(...all);
      throw cutOff;
    },
  };
  expect((await failureOf(attempt(of, { catalogs: lost }))).nonRetryable).toBe(false);
  expect(await of.step()).toMatchObject({ state: 'pending' });
  expect(await attempt(of, { catalogs: lost })).toEqual({ state: 'undone' });
  expect([sent, await of.timesUndone()]).toEqual([1, 1]);
});

test('one that never arrived is sent again under the same key', async () => {
  const of = await undoOf(bench);
  await failureOf(attempt(of, { catalogs: { undo: away.undo } }));
  await failureOf(attempt(of, { catalogs: away }));
  expect(await attempt(of)).toEqual({ state: 'undone' });
  expect(await of.timesUndone()).toBe(1);
});

test('an attempt that is interrupted is not the end of the undo', async () => {
  const of = await undoOf(bench);
  const interrupted = { undo: () => Promise.reject(new StewardError('CANCELLED', 'The call was cancelled.')) };
  expect(await failureOf(attempt(of, { catalogs: interrupted }))).toMatchObject({
    type: 'OUTCOME_UNKNOWN',
    nonRetryable: false,
  });
  expect(await attempt(of)).toEqual({ state: 'undone' });
});

test('what the domain refuses is told, and nothing else is done', async () => {
  const of = await undoOf(bench);
  const refusal = { kind: 'refusal', code: 'CHANGED_SINCE', message: 'Look first.' } as const;
  expect(await attempt(of, { catalogs: { undo: async () => refusal } })).toEqual({ state: 'refused' });
  expect(await of.step()).toMatchObject({ error_code: 'CHANGED_SINCE', error_message: 'Look first.' });
  expect(await events(of)).toMatchObject([{ kind: 'undo.refused', data: { code: 'CHANGED_SINCE' } }]);
});

test('a guard that is down allows nothing, and given up on, nothing was changed', async () => {
  const of = await undoOf(bench);
  const down: UndoGuardPort = { authorizeUndo: () => Promise.reject(new StewardError('UNAVAILABLE', 'down')) };
  expect((await failureOf(attempt(of, { guard: down }))).type).toBe('UNAVAILABLE');
  expect(await attempt(of, { guard: down, giveUp: true })).toEqual({ state: 'refused' });
  expect(await of.timesUndone()).toBe(0);
});

test('given up on, what cannot be learned is unknown and never said to be undone or not', async () => {
  const of = await undoOf(bench);
  await failureOf(attempt(of, { catalogs: away }));
  expect(await attempt(of, { catalogs: away, giveUp: true })).toEqual({ state: 'unknown' });
  expect(await events(of)).toMatchObject([{ kind: 'undo.unknown', data: { undo: of.undo } }]);
  // Its key is not spoilt: another undo of the same effect finds it free.
  const look = { key: `${of.run.id}/1.0/undo`, digest: String((await of.step()).digest), runGrant: of.run.runGrant };
  const found = await of.catalogs.resolve('desk', { ...look, lookOnly: true }, AbortSignal.timeout(5_000));
  expect(found).toEqual({ kind: 'nothing' });
});

test('sent often enough, it is only asked about, and refused once no attempt can be under way', async () => {
  const of = await undoOf(bench);
  await failureOf(attempt(of, { catalogs: { undo: away.undo } }));
  await of.set('agent_run_undo_steps', `attempts = ${UNDO_ATTEMPTS}`);
  const unsent = { undo: () => Promise.reject(new Error('sent once more')) };
  const early = await failureOf(attempt(of, { catalogs: unsent }));
  expect(early).toMatchObject({ type: 'OUTCOME_UNKNOWN', nextRetryDelay: expect.any(Number) });
  expect(await attempt(of, { catalogs: unsent, laterMs: 120_000 })).toEqual({ state: 'refused' });
  expect(await of.step()).toMatchObject({ error_code: 'CATALOG_UNAVAILABLE' });
});

// The last one: the catalog comes back as another.
test('a tool that has changed since is refused: at once, or once no earlier attempt can be under way', async () => {
  const [fresh, tried] = [await undoOf(bench), await undoOf(bench)];
  await failureOf(attempt(tried, { catalogs: { undo: away.undo } }));
  await bench.replaceDesk(deskTools('2'));
  bench.later(600_000);
  expect(await attempt(fresh)).toEqual({ state: 'refused' });
  expect(await fresh.step()).toMatchObject({ error_code: 'TOOL_CHANGED', attempts: 0 });
  expect((await failureOf(attempt(tried))).type).toBe('OUTCOME_UNKNOWN');
  expect(await attempt(tried, { laterMs: 120_000 })).toEqual({ state: 'refused' });
  expect(await tried.step()).toMatchObject({ error_code: 'TOOL_CHANGED' });
});
