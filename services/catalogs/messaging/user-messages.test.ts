import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { messagingWorld } from '#test/support/messaging.ts';

const PERMISSIONS = ['messaging:read', 'messaging:send'];
const ada = { tenant: 'acme', user: 'ada@acme.example', permissions: PERMISSIONS };
const ben = { ...ada, user: 'ben@acme.example' };

let world: Awaited<ReturnType<typeof messagingWorld>>;
let catalog: Awaited<ReturnType<typeof world.serve>>;

beforeAll(async () => {
  world = await messagingWorld();
  catalog = await world.serve({ smtpUrl: 'smtp://127.0.0.1:9' });
});
afterAll(async () => {
  await catalog?.stop();
  await world?.database.drop();
});

interface Page {
  readonly messages: readonly { readonly message_id: string; readonly text: string }[];
  readonly next_page_token: string | null;
}
type Tester = Awaited<ReturnType<typeof catalog.run>>;
const page = async (run: Tester, page_token?: string | null) =>
  (await run.call('list_messages', page_token === undefined ? {} : { page_token })).result as unknown as Page;

test('a message reaches the acting user once, and nobody else; its undo takes it back', async () => {
  const run = await catalog.run(ada);
  const call = await run.prepare('send_message_to_user', { text: 'Half of it is done.' });
  await run.execute(call);
  expect((await run.execute(call)).outcome).toMatchObject({ case: 'receipt', value: { repeated: true } });
  expect((await page(run)).messages).toEqual([
    {
      message_id: expect.stringMatching(/^\d+$/),
      run_id: call.record.run,
      text: 'Half of it is done.',
      sent_at: expect.stringMatching(/Z$/),
    },
  ]);
  expect((await page(await catalog.run(ben))).messages).toEqual([]);
  expect((await page(await catalog.run({ ...ada, tenant: 'globex' }))).messages).toEqual([]);
  expect((await run.undo(call.record)).case).toBe('receipt');
  expect((await page(run)).messages).toEqual([]);
});

test('messages come newest first, in pages', async () => {
  const run = await catalog.run(ben);
  for (let n = 1; n <= 23; n += 1) await run.call('send_message_to_user', { text: `message ${n}` });
  const first = await page(run);
  const second = await page(run, first.next_page_token);
  const texts = [...first.messages, ...second.messages].map(({ text }) => text);
  expect(texts).toEqual(Array.from({ length: 23 }, (_, index) => `message ${23 - index}`));
  expect(first.messages).toHaveLength(20);
  expect(second.next_page_token).toBeNull();
  expect(await run.refusal('list_messages', { page_token: 'x' })).toBe('PAGE_TOKEN_INVALID');
});
