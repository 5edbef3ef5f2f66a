import { z } from 'zod';
import { fieldChanges } from '#catalog-kit/change.ts';
import { toolsOver } from '#catalog-kit/define-tool.ts';
import { refuse } from '#catalog-kit/refusal.ts';
import type { MessagingTables } from './tables.ts';

const defineTool = toolsOver<MessagingTables>();
const PAGE_SIZE = 20;
const POSITION = /^[1-9]\d{0,14}$/;

/** Tells the acting user something: nobody else can be written to, so nobody is asked. */
export const sendMessageToUser = defineTool({
  name: 'send_message_to_user',
  version: '1',
  description:
    'Leaves a plain-text message for the user you act for, who reads it later. For progress, questions and results that ' +
    'must not wait for the end of the run. It reaches nobody else.',
  input: z.strictObject({ text: z.string().min(1).max(4_000).describe('Plain text.') }),
  output: z.strictObject({ message_id: z.string().max(40) }),
  effect: 'transactional',
  risk: 'cautious',
  labels: ['writes'],
  permissions: ['messaging:send'],
  quantities: ['messages=1'],
  async execute(ctx, { text }) {
    const { tenant, user, run, key } = ctx;
    const { id } = await ctx.db
      .insertInto('messages')
      .values({ tenant, user_id: user, run_id: run, body: text, key })
      .returning('id')
      .executeTakeFirstOrThrow();
    const change = {
      summary: `message to ${user}`,
      fields: fieldChanges(`message/${id}`, null, { to: user, text }),
      quantities: { messages: 1 },
    };
    return { result: { message_id: String(id) }, change };
  },
  async undo(ctx, { args: { text }, result: { message_id } }) {
    const row = await ctx.db
      .updateTable('messages')
      .set({ retracted_at: new Date() })
      .where('id', '=', Number(message_id))
      .where('retracted_at', 'is', null)
      .returning('user_id')
      .executeTakeFirst();
    if (row === undefined) throw refuse('CHANGED_SINCE', `The message ${message_id} is not there any more.`);
    return {
      summary: `take back message ${message_id} to ${row.user_id}`,
      fields: fieldChanges(`message/${message_id}`, { to: row.user_id, text }, null),
      quantities: {},
    };
  },
});

/** What runs have told the acting user, newest first, in pages of 20. */
export const listMessages = defineTool({
  name: 'list_messages',
  version: '1',
  description: 'The messages that were left for the user you act for, newest first, in pages.',
  input: z.strictObject({
    page_token: z.string().max(40).nullable().optional().describe('next_page_token of the page before.'),
  }),
  output: z.strictObject({
    messages: z.array(
      z.strictObject({ message_id: z.string(), run_id: z.string(), text: z.string(), sent_at: z.string() }),
    ),
    next_page_token: z.string().nullable(),
  }),
  effect: 'none',
  risk: 'safe',
  labels: ['reads_private', 'reads_untrusted'],
  permissions: ['messaging:read'],
  async execute(ctx, { page_token }) {
    const before = page_token ?? null;
    if (before !== null && !POSITION.test(before)) {
      throw refuse('PAGE_TOKEN_INVALID', 'page_token must be a next_page_token of this tool, or left out.');
    }
    const rows = await ctx.db
      .selectFrom('messages')
      .select(['id', 'run_id', 'body', 'sent_at'])
      .where('user_id', '=', ctx.user)
      .where('retracted_at', 'is', null)
      .$if(before !== null, (query) => query.where('id', '<', Number(before)))
      .orderBy('id', 'desc')
      .limit(PAGE_SIZE + 1)
      .execute();
    const page = rows.slice(0, PAGE_SIZE);
    return {
      messages: page.map(({ id, run_id, body, sent_at }) => ({
        message_id: String(id),
        run_id,
        text: body,
        sent_at: sent_at.toISOString(),
      })),
      next_page_token: rows.length > PAGE_SIZE ? String(page.at(-1)?.id) : null,
    };
  },
});
