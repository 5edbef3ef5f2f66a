import type { ConversationView, SeenCall } from '#services/offline-model/conversation.ts';
import { defineScript, type ScriptedCall } from '#services/offline-model/script.ts';
import { CREATED, effectOf, type Intent, intentsOf } from '../intents.ts';

/** At most so many calls a turn, and so many proposals of one effect. */
const WIDTH = 3;
const MOST_TRIES = 4;

/**
 * Brings about every effect of its run, and ends when each was reported done. What was reported as "did not take place"
 * it proposes again: were that report wrong, there would be two. Another refusal is taken for final.
 */
export const chaos = defineScript({
  name: 'chaos',
  answer: (view) => {
    const intents = intentsOf(view.param('seed', 0), view.param('run', 0));
    const ids = idsByTitle(view);
    const seen = new Map(
      intents.map((intent) => [intent.effect, view.calls.filter((call) => isFor(call, intent, ids))]),
    );
    const done = new Set(intents.map(({ effect }) => effect).filter((effect) => seen.get(effect)?.some(succeeded)));
    const open = intents.filter(({ effect }) => !done.has(effect));
    const next = open
      .filter(({ after, effect }) => after.every((other) => done.has(other)) && mayTry(seen.get(effect) ?? []))
      .slice(0, WIDTH);
    if (next.length > 0) {
      return { text: `${done.size} of ${intents.length} are done.`, calls: next.map((intent) => callFor(intent, ids)) };
    }
    const rest = open.map(({ effect }) => effect).join('; ');
    return { text: open.length === 0 ? `All ${intents.length} are done.` : `Gave up on ${rest}.` };
  },
});

const succeeded = (call: SeenCall): boolean => !call.isError;

function mayTry(calls: readonly SeenCall[]): boolean {
  return calls.length < MOST_TRIES && calls.every((call) => /did not take place/.test(call.text));
}

/** Ids of the tasks as their creation reported them. */
function idsByTitle(view: ConversationView): ReadonlyMap<unknown, string> {
  return new Map(
    view
      .results<{ readonly task: { readonly id: string; readonly title: string } }>('create_task')
      .map(({ task }) => [task.title, task.id]),
  );
}

function isFor(call: SeenCall, intent: Intent, ids: ReadonlyMap<unknown, string>): boolean {
  if (call.tool !== intent.tool) return false;
  switch (intent.tool) {
    case 'create_task':
      return call.args.title === intent.title;
    case 'send_email':
      return call.args.subject === intent.subject;
    case 'update_task_status':
      return call.args.task_id === ids.get(intent.title) && call.args.status === intent.status;
    case 'assign_task':
    case 'delete_task':
      return call.args.task_id === ids.get(intent.title);
  }
}

function callFor(intent: Intent, ids: ReadonlyMap<unknown, string>): ScriptedCall {
  const { tool } = intent;
  switch (intent.tool) {
    case 'create_task':
      return { tool, args: { project_id: intent.project, title: intent.title } };
    case 'send_email':
      return {
        tool,
        args: { to: ['dana@northwind.example'], subject: intent.subject, body: effectOf(intent.subject, CREATED) },
      };
    case 'update_task_status':
      return { tool, args: { task_id: ids.get(intent.title), status: intent.status } };
    case 'assign_task':
      return { tool, args: { task_id: ids.get(intent.title), assignee: intent.assignee } };
    case 'delete_task':
      return { tool, args: { task_id: ids.get(intent.title) } };
  }
}
