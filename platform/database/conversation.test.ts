import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { type StewardDatabase, stewardDatabase } from '#test/support/steward-database.ts';
import { type Connection, connect } from './connect.ts';
import { loadConversation } from './conversation.ts';
import type { Database } from './tables.ts';
import { withTenant } from './tenant.ts';

let database: StewardDatabase;
let pool: Connection<Database>;

beforeAll(async () => {
  database = await stewardDatabase();
  pool = connect<Database>(await database.urlAs('steward_worker'), { max: 2 });
}, 120_000);

afterAll(async () => {
  await pool.close();
  await database.drop();
});

const NOTHING_LEFT_OUT = {
  earlier_runs: [],
  earlier_steps: [],
  prefix_from: 0,
  handles_through: 0,
  handles_at: 0,
  summarised_through: 0,
};

async function newRun() {
  const tenant = await database.tenant();
  const run = await database.run(tenant);
  let number = 0;
  const step = (kind: string, turn: number, content: unknown, ordinal = 0) => {
    number += 1;
    return database.query(
      'insert into steward.agent_run_steps (tenant, run_id, number, kind, turn, ordinal, content) values ($1,$2,$3,$4,$5,$6,$7)',
      [tenant, run, number, kind, turn, ordinal, JSON.stringify(content)],
    );
  };
  const load = (as = tenant) =>
    withTenant(pool.db, as, async (trx) => {
      const row = { ...NOTHING_LEFT_OUT, tenant: as, id: run };
      return [...(await loadConversation(trx, row)).messages];
    });
  return { tenant, run, step, load };
}

const said = (text: string) => ({ content: [{ type: 'text', text }], stop: 'calls', attempt: 'a' });
const result = (callId: string) => ({ type: 'tool_result', callId, providerId: callId, text: '{}', isError: false });

test('a conversation grows by what is new, in the order the model knows, and what stood in it stays as it was', async () => {
  const { step, load } = await newRun();
  expect(await load()).toEqual([]);
  await step('user_message', 0, { text: 'Go' });
  await step('model_message', 1, said('one'));
  await step('note', 1, {});
  const first = await load();
  expect(first).toMatchObject([{ role: 'user' }, { role: 'assistant' }]);
  expect((await load())[1]).toBe(first[1]);
  await step('tool_result', 1, result('1.1'), 1);
  expect((await load())[2]?.content).toEqual([result('1.1')]);
  // The first call of the turn was the slower one.
  await step('tool_result', 1, result('1.0'), 0);
  expect((await load())[2]?.content).toEqual([result('1.0'), result('1.1')]);
  await step('model_message', 2, said('two'));
  const all = await load();
  expect(all.map((message) => message.role)).toEqual(['user', 'assistant', 'user', 'assistant']);
  all.pop();
  expect(await load()).toHaveLength(4);
});

test('what was read is not shown to another tenant, and a database that was set back is read anew', async () => {
  const { step, load, run } = await newRun();
  await step('user_message', 0, { text: 'Go' });
  await step('model_message', 1, said('one'));
  expect(await load()).toHaveLength(2);
  expect(await load(await database.tenant())).toEqual([]);
  await database.query('delete from steward.agent_run_steps where run_id = $1', [run]);
  expect(await load()).toEqual([]);
  const { tenant } = await database
    .query<{ tenant: string }>('select tenant from steward.agent_runs where id = $1', [run])
    .then(([row]) => row as { tenant: string });
  for (const [number, text] of [
    [1, 'Other'],
    [2, 'words'],
    [3, 'here'],
  ] as const) {
    await database.query(
      "insert into steward.agent_run_steps (tenant, run_id, number, kind, turn, content) values ($1,$2,$3,'user_message',0,$4)",
      [tenant, run, number, JSON.stringify({ text })],
    );
    if (number === 2) await load();
  }
  await database.query(
    "update steward.agent_run_steps set created_at = now() + interval '1 s' where run_id = $1 and number = 2",
    [run],
  );
  expect(await load()).toMatchObject([
    { role: 'user', content: [{ text: 'Other' }, { text: 'words' }, { text: 'here' }] },
  ]);
});
