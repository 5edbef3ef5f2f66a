import type { Transaction } from 'kysely';
import type { Message, TextBlock } from '#domain/conversation.ts';
import { unreadOf } from '#domain/messages.ts';
import type { NewStep } from './journal.ts';
import type { RunRow } from './run-row.ts';
import { cutText } from './storable.ts';
import type { Database } from './tables.ts';

/** Something said to a run while it runs. */
export interface SentMessage {
  readonly number: number;
  readonly by: string;
  readonly text: string;
}

type Counted = Pick<RunRow, 'id' | 'messages_sent' | 'messages_read'>;

/** What the run's model has not read yet, as of `run`, in the order in which it was taken. */
export async function unreadMessages(trx: Transaction<Database>, run: Counted): Promise<SentMessage[]> {
  if (unreadOf({ sent: run.messages_sent, read: run.messages_read }) === 0) return [];
  return trx
    .selectFrom('agent_run_messages')
    .select(['number', 'sent_by as by', 'text'])
    .where('run_id', '=', run.id)
    .where('number', '>', run.messages_read)
    .where('number', '<=', run.messages_sent)
    .orderBy('number')
    .execute();
}

/** The conversation with what was said to the run at its end: as the user's words, after the results of the last turn. */
export function withMessages(conversation: readonly Message[], said: readonly SentMessage[]): readonly Message[] {
  const words = said.map(({ text }): TextBlock => ({ type: 'text', text }));
  if (words.length === 0) return conversation;
  const last = conversation.at(-1);
  return last?.role === 'user'
    ? [...conversation.slice(0, -1), { role: 'user', content: [...last.content, ...words] }]
    : [...conversation, { role: 'user', content: words }];
}

/** The messages as steps of the turn that is the first to read them. */
export function stepsOfMessages(turn: number, said: readonly SentMessage[]): NewStep[] {
  return said.map(({ number, by, text }) => ({
    kind: 'user_message',
    turn,
    ordinal: number,
    content: { text, message: number, by },
  }));
}

/** Unread messages as the end of the run names them; nothing where there are none. */
export async function unreadAtEnd(trx: Transaction<Database>, run: Counted): Promise<{ unread?: UnreadAtEnd[] }> {
  const unread = await unreadMessages(trx, run);
  if (unread.length === 0) return {};
  return { unread: unread.map(({ number, by, text }) => ({ message: number, by, text: cutText(text, SHOWN_AT_END) })) };
}

interface UnreadAtEnd {
  readonly message: number;
  readonly by: string;
  readonly text: string;
}

const SHOWN_AT_END = 500;
