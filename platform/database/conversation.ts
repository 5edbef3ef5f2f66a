import type { Transaction } from 'kysely';
import type { AssistantBlock, Message, ModelStop, TextBlock, ToolResultBlock } from '#domain/conversation.ts';
import { cutText } from './storable.ts';
import type { Database } from './tables.ts';

/** Content of a `model_message` step. */
export interface StoredMessage {
  readonly content: readonly AssistantBlock[];
  readonly stop: ModelStop;
  /** The attempt whose message this is. */
  readonly attempt: string;
}

/** The longest tool result the model is shown; the whole of it stands with the call. Characters. */
export const SHOWN_RESULT = 16_000;

/** A tool's result as the model sees it: whole, or cut with a handle to the rest. */
export function shownResult(run: string, callId: string, resultJson: string): string {
  if (resultJson.length <= SHOWN_RESULT) return resultJson;
  return `${cutText(resultJson, SHOWN_RESULT)}\n[cut: ${resultJson.length} characters in all; result://${run}/${callId}]`;
}

/** The conversation of a run so far, in the order the model knows it: by turn, results of a turn in call order. */
export async function loadConversation(trx: Transaction<Database>, run: string): Promise<Message[]> {
  const rows = await trx
    .selectFrom('agent_run_steps')
    .select(['kind', 'turn', 'ordinal', 'number', 'content'])
    .where('run_id', '=', run)
    .where('kind', '!=', 'note')
    .execute();
  const rank = { user_message: 0, model_message: 1, tool_result: 2, note: 3 } as const;
  rows.sort((a, b) => a.turn - b.turn || rank[a.kind] - rank[b.kind] || a.ordinal - b.ordinal || a.number - b.number);
  const messages: Message[] = [];
  for (const row of rows) {
    if (row.kind === 'model_message') {
      messages.push({ role: 'assistant', content: (row.content as StoredMessage).content });
      continue;
    }
    const block = row.kind === 'tool_result' ? (row.content as ToolResultBlock) : toText(row.content);
    const last = messages.at(-1);
    if (last?.role === 'user') messages[messages.length - 1] = { role: 'user', content: [...last.content, block] };
    else messages.push({ role: 'user', content: [block] });
  }
  return messages;
}

function toText(content: unknown): TextBlock {
  return { type: 'text', text: String((content as { text?: unknown }).text ?? '') };
}
