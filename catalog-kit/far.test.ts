import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type { StewardError } from '#domain/errors.ts';
import { ADA, notesWorld } from '#test/support/notes/catalog.ts';
import type { FarSide } from '#test/support/notes/tools.ts';
import { notSent, refuse } from './refusal.ts';
import type { RunTester, TestCall } from './testing.ts';
import type { ToolContext } from './tool.ts';

/** Who is spoken to: notes down the keys that reached it. */
const reached: string[] = [];
let behave: FarSide['act'];
const far: FarSide = { act: (ctx, args) => behave(ctx, args) };
const arrive = async (ctx: ToolContext): Promise<void> => void reached.push(ctx.key);

let world: Awaited<ReturnType<typeof notesWorld>>;
let catalog: Awaited<ReturnType<typeof world.serve>>;
let run: RunTester;

beforeAll(async () => {
  world = await notesWorld();
  catalog = await world.serve({ far });
  run = await catalog.run(ADA);
});
afterAll(async () => {
  await catalog?.stop();
  await world?.database.drop();
});
beforeEach(() => {
  reached.length = 0;
  behave = arrive;
});

const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'OK',
    (error) => (error as StewardError).code,
  );
const inDoubt = async (by: RunTester, call: TestCall) => {
  const state = await by.resolve(call);
  if (state.case !== 'inDoubt') throw new Error(`${state.case} instead of in doubt`);
  return { running: state.value.running, repeatable: state.value.repeatable };
};
const DIED = new Error('the connection was lost in the middle');

test.each(['post_note', 'ring_note'])('%s: once, and its receipt ever after', async (tool) => {
  const call = await run.prepare(tool, { text: 'hi' });
  const answers = await Promise.all(Array.from({ length: 10 }, () => run.execute(call)));
  expect(reached).toEqual([call.record.key]);
  const receipts = answers.map(({ outcome }) => (outcome.case === 'receipt' ? outcome.value : undefined));
  expect(receipts.filter((receipt) => receipt?.repeated === false)).toHaveLength(1);
  expect(new Set(receipts.map((receipt) => receipt?.resultJson))).toEqual(new Set([`{"key":"${call.record.key}"}`]));
  expect(receipts[0]?.undoable).toBe(false);
  expect((await run.resolve(call)).case).toBe('receipt');
});

test('the far side acted and the answer was lost: keyed is sent again under the same key', async () => {
  behave = async (ctx) => {
    await arrive(ctx);
    throw DIED;
  };
  const call = await run.prepare('post_note', { text: 'hi' });
  expect(await codeOf(run.execute(call))).toBe('OUTCOME_UNKNOWN');
  expect(await inDoubt(run, call)).toEqual({ running: false, repeatable: true });
  behave = arrive;
  expect((await run.execute(call)).outcome.case).toBe('receipt');
  expect(reached).toEqual([call.record.key, call.record.key]);
  expect((await run.resolve(call)).case).toBe('receipt');
});

test('the far side acted and the answer was lost: unkeyed is never sent again', async () => {
  behave = async (ctx) => {
    await arrive(ctx);
    throw DIED;
  };
  const call = await run.prepare('ring_note', { text: 'hi' });
  expect(await codeOf(run.execute(call))).toBe('OUTCOME_UNKNOWN');
  behave = arrive;
  expect(await codeOf(run.execute(call))).toBe('OUTCOME_UNKNOWN');
  expect(await inDoubt(run, call)).toEqual({ running: false, repeatable: false });
  expect(reached).toHaveLength(1);
});

test.each(['post_note', 'ring_note'])('%s: the process dies between effect and receipt', async (tool) => {
  const dying = await world.serve({
    far,
    hooks: {
      afterEffect: () => {
        throw DIED;
      },
    },
  });
  const before = await dying.run(ADA);
  const call = await before.prepare(tool, { text: 'hi' });
  expect(await codeOf(before.execute(call))).toBe('OUTCOME_UNKNOWN');
  await dying.stop();
  // The next process knows only what is stored.
  expect(await codeOf(run.execute(call))).toBe(tool === 'post_note' ? 'OK' : 'OUTCOME_UNKNOWN');
  expect(reached).toHaveLength(tool === 'post_note' ? 2 : 1);
});

test('another process waits while one is at it, and takes over only when its lease has ended', async () => {
  const entered = Promise.withResolvers<void>();
  const leave = Promise.withResolvers<void>();
  behave = async (ctx) => {
    entered.resolve();
    await leave.promise;
    await arrive(ctx);
  };
  const other = await world.serve({ far });
  const elsewhere = await other.run({ ...ADA, run: run.grant.run });
  const call = await run.prepare('post_note', { text: 'hi' });
  const first = run.execute(call);
  await entered.promise;
  expect(await codeOf(elsewhere.execute(call, 400))).toMatch(/UNAVAILABLE|DEADLINE/);
  expect(await inDoubt(elsewhere, call)).toEqual({ running: true, repeatable: true });
  const second = elsewhere.execute(call);
  leave.resolve();
  expect((await first).outcome.case).toBe('receipt');
  const { outcome } = await second;
  expect(outcome.case === 'receipt' && outcome.value.repeated).toBe(true);
  expect(reached).toHaveLength(1);

  // A process that died mid-way: its intent stands, and its lease runs out.
  const orphan = await run.prepare('post_note', { text: 'hi' });
  const hung = Promise.withResolvers<void>();
  const begun = Promise.withResolvers<void>();
  behave = async () => {
    begun.resolve();
    await hung.promise;
    throw DIED;
  };
  const lost = codeOf(run.execute(orphan));
  await begun.promise;
  behave = arrive;
  expect(await inDoubt(run, orphan)).toEqual({ running: true, repeatable: true });
  await world.database.query(
    `update notes.receipts set owner = 'a process that died/x', lease_until = now() where key = $1`,
    [orphan.record.key],
  );
  expect(await inDoubt(elsewhere, orphan)).toEqual({ running: false, repeatable: true });
  expect((await elsewhere.execute(orphan)).outcome.case).toBe('receipt');
  hung.resolve();
  expect(await lost).toBe('OUTCOME_UNKNOWN');
  expect((await run.resolve(orphan)).case).toBe('receipt');
  expect(reached).toHaveLength(2);
  await other.stop();
});

test('an attempt that takes long goes on saying that it is alive', async () => {
  const entered = Promise.withResolvers<void>();
  const leave = Promise.withResolvers<void>();
  behave = async (ctx) => {
    entered.resolve();
    await leave.promise;
    await arrive(ctx);
  };
  const call = await run.prepare('ring_note', { text: 'hi' });
  const executed = run.execute(call, 30_000);
  await entered.promise;
  const lease = async () => {
    const text = 'select lease_until from notes.receipts where key = $1';
    const [row] = await world.database.query<{ lease_until: Date }>(text, [call.record.key]);
    return row?.lease_until.getTime() ?? 0;
  };
  const first = await lease();
  const deadline = Date.now() + 20_000;
  while ((await lease()) === first && Date.now() < deadline) await delay(50);
  expect(await lease()).toBeGreaterThan(first);
  leave.resolve();
  expect((await executed).outcome.case).toBe('receipt');
});

test('definitely not sent: the key is free again', async () => {
  const call = await run.prepare('ring_note', { text: 'hi' });
  behave = async () => {
    throw notSent('nobody picked up', DIED);
  };
  expect(await codeOf(run.execute(call))).toBe('UNAVAILABLE');
  expect((await run.resolve(call, true)).case).toBe('nothing');
  behave = async () => {
    throw notSent(refuse('NUMBER_UNKNOWN', 'There is no such number.'));
  };
  expect((await run.execute(call)).outcome).toMatchObject({ case: 'refusal', value: { code: 'NUMBER_UNKNOWN' } });
  behave = arrive;
  expect((await run.execute(call)).outcome.case).toBe('receipt');
  expect(reached).toHaveLength(1);
});

test('definitely not sent this time says nothing about the time before', async () => {
  const call = await run.prepare('post_note', { text: 'hi' });
  behave = async (ctx) => {
    await arrive(ctx);
    throw DIED;
  };
  await codeOf(run.execute(call));
  behave = async () => {
    throw notSent('nobody picked up');
  };
  expect(await codeOf(run.execute(call))).toBe('OUTCOME_UNKNOWN');
  expect((await run.resolve(call)).case).toBe('inDoubt');
});

test.each(['post_note', 'ring_note'])(
  '%s: more than was looked at is refused before anything is sent',
  async (tool) => {
    const call = await run.prepare(tool, { text: 'hi' });
    const within = async (most: Record<string, number>) => {
      const executionGrants = [await run.grantFor(call.record, undefined, most)];
      return (await run.execute({ ...call, executionGrants })).outcome;
    };
    expect(await within({ letters: 0 })).toMatchObject({ case: 'refusal', value: { code: 'QUANTITY_EXCEEDED' } });
    expect(reached).toEqual([]);
    expect(await within({ letters: 1 })).toMatchObject({ case: 'receipt' });
    expect(reached).toEqual([call.record.key]);
  },
);

test('a refused check leaves no intent', async () => {
  const call = await run.prepare('post_note', { text: 'nonsense' });
  expect((await run.execute(call)).outcome).toMatchObject({ case: 'refusal', value: { code: 'NONSENSE' } });
  expect((await run.resolve(call)).case).toBe('tombstone');
  expect(await codeOf(run.execute(call))).toBe('TOMBSTONED');
  expect(reached).toEqual([]);
});

test('the far side hears of a cancelled caller, and is told by the key', async () => {
  const entered = Promise.withResolvers<void>();
  behave = async (ctx) => {
    entered.resolve();
    await new Promise<void>((done) => ctx.signal.addEventListener('abort', () => done(), { once: true }));
    throw notSent('hung up before a word was said', ctx.signal.reason);
  };
  const call = await run.prepare('ring_note', { text: 'hi' });
  const cancel = new AbortController();
  const { actionRecord, runGrant, executionGrants } = call;
  const request = { actionRecord, runGrant, executionGrants: [...executionGrants] };
  const answer = codeOf(run.client.execute(request, { signal: cancel.signal }));
  await entered.promise;
  cancel.abort();
  expect(await answer).toBe('CANCELLED');
});
