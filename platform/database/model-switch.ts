import type { Transaction } from 'kysely';
import type { EventData } from '#domain/events.ts';
import type { ModelChoice, ModelRequest, ModelRoute } from '#domain/ports/model.ts';
import type { NewEvent } from './journal.ts';
import type { Database } from './tables.ts';

/** That another model is asked than before. */
export type Switch = EventData['model.switched'];

/** What is to be said where another model is asked than before; null where it is the same one. */
export async function switchOf(
  trx: Transaction<Database>,
  request: ModelRequest,
  route: ModelRoute,
  choice: ModelChoice,
): Promise<Switch | null> {
  const last = await trx
    .selectFrom('agent_run_costs')
    .select('model')
    .where('run_id', '=', request.runId)
    .orderBy('turn', 'desc')
    .orderBy('created_at', 'desc')
    .limit(1)
    .executeTakeFirst();
  const from = last?.model ?? route.primary;
  if (from === choice.model) return null;
  const thinking = request.messages.flatMap((message) =>
    message.role === 'assistant' ? message.content.filter((block) => block.type === 'thinking') : [],
  );
  return {
    from,
    to: choice.model,
    why: choice.why === 'primary' ? 'recovered' : choice.why,
    errors: choice.model === route.fallback ? route.errors.primary : route.errors.fallback,
    thinkingDropped: thinking.filter((block) => block.provider !== choice.wire).length,
  };
}

/** The event that says so, where there is something to say. */
export function switchedTo(turn: number, data: Switch | null): NewEvent[] {
  return data === null ? [] : [{ kind: 'model.switched', turn, data }];
}
