import type { ConversationView } from '../conversation.ts';
import { defineScript, type Fault, type Script, type ScriptedAnswer, type ScriptedCall } from '../script.ts';

/**
 * Scripts without a story, for tests and benchmarks. Their parameters stand in a line `params: {…}` of the first user
 * message.
 */

/** Says what it was told. With `thinking` it thinks before, with `sealed` in a block nobody can read. */
const echo = defineScript({
  name: 'echo',
  answer: (view) => ({
    ...(view.params.thinking === undefined ? {} : { thinking: view.param('thinking', '') }),
    ...(view.params.sealed === undefined ? {} : { redactedThinking: view.param('sealed', '') }),
    text: `You said: ${view.firstUserText}`,
  }),
});

/**
 * Plays `params.turns`, a list of lists of calls `{tool, args}`, one list per turn, and ends with `params.final`. With
 * `thinking`, it thinks before each. `outage`, `{turn, model, status, attempts, retryAfter}`, is a turn (from 0) in which
 * models whose id begins so answer with that status, `attempts` times or, below 0, always.
 */
const plan = defineScript({
  name: 'plan',
  answer: (view) => {
    const turns = view.param<ScriptedCall[][]>('turns', []);
    const calls = turns[view.turn];
    const thinking = view.param('thinking', '');
    const also = { ...(thinking === '' ? {} : { thinking }), ...outage(view) };
    return calls === undefined
      ? { ...also, text: view.param('final', 'Done.') }
      : { ...also, text: `Turn ${view.turn + 1} of ${turns.length}.`, calls };
  },
});

function outage(view: ConversationView): { readonly fault?: Fault } {
  if (view.params.outage === undefined) return {};
  const { turn, model, status, attempts, retryAfter } = view.param('outage', {}) as Record<string, unknown>;
  if (view.turn !== turn || !view.model.startsWith(String(model ?? ''))) return {};
  return {
    fault: {
      kind: 'status',
      status: Number(status ?? 529),
      attempts: Number(attempts ?? 1) < 0 ? 'always' : Number(attempts ?? 1),
      ...(retryAfter === undefined ? {} : { retryAfter: String(retryAfter) }),
    },
  };
}

/**
 * `turns` turns of one call each (also read from "… 30 turns …" in the message), then an end. `tool` and `args` say
 * which; `vary` names an argument that is the number of the turn, from 1 and over again after `modulo`. With `thinking`,
 * it thinks before each.
 */
const longLoop = defineScript({
  name: 'long-loop',
  answer: (view) => {
    const turns = view.param('turns', Number(/(\d+) turns/.exec(view.firstUserText)?.[1] ?? 10));
    const turn = turnsSpoken(view);
    if (turn >= turns) return { text: `All ${turns} turns are done.` };
    const thinking = view.param('thinking', '');
    return {
      ...(thinking === '' ? {} : { thinking }),
      text: `Turn ${turn + 1} of ${turns}.`,
      calls: [oneCall(view, turn)],
    };
  },
});

/** The same call with the same arguments, for ever. */
const stuck = defineScript({
  name: 'stuck',
  answer: (view) => ({ text: 'Let me try this once more.', calls: [oneCall(view, 0)] }),
});

/** `calls` calls (12) in one turn, then an end that says how many of them failed. */
const manyCalls = defineScript({
  name: 'many-calls',
  turns: [
    (view) => ({
      text: 'Many at once.',
      calls: Array.from({ length: view.param('calls', 12) }, (_, index) => oneCall(view, index)),
    }),
    (view) => ({ text: `${view.calls.length} calls, ${failed(view)} of them failed.` }),
  ],
});

/** Calls a tool that nobody offers, `times` times (2), then ends. */
const unknownTool = defineScript({
  name: 'unknown-tool',
  answer: (view) =>
    view.turn < view.param('times', 2)
      ? { text: 'I know a tool for this.', calls: [{ tool: 'no_such_tool', args: { turn: view.turn } }] }
      : reportLast(view),
});

/** Calls `tool` with `args` that its schema does not allow, then says what came back. */
const badArguments = defineScript({
  name: 'bad-arguments',
  turns: [
    (view) => ({
      text: 'Calling it.',
      calls: [{ tool: view.param('tool', 'list_tasks_in_project'), args: view.param('args', { wrong: true }) }],
    }),
    reportLast,
  ],
});

/** Calls `tool` with arguments that are no JSON (`raw`), then says what came back. */
const malformedJson = defineScript({
  name: 'malformed-json',
  turns: [
    (view) => ({
      text: 'Calling it.',
      calls: [
        { tool: view.param('tool', 'list_tasks_in_project'), rawArgs: view.param('raw', '{"project_id": "p-1", "sta') },
      ],
    }),
    reportLast,
  ],
});

/** Streams `pieces` words (600), one every `everyMs` milliseconds (100), a minute at most. */
const slowStream = defineScript({
  name: 'slow-stream',
  answer: (view) => ({
    text: 'Slowly but steadily.    '.repeat(view.param('pieces', 600)),
    pace: { firstMs: view.param('firstMs', 0), everyMs: view.param('everyMs', 100) },
  }),
});

/**
 * Answers whoever asks for a summary, whatever script the conversation is of: how many messages there are, and the last
 * thing said. `summary` in the conversation's parameters: `refuse`, `call`, `fail` (with status 500) or `reject` (400).
 */
export const summary = defineScript({
  name: 'summary',
  answer: (view) => {
    const how = view.param<string>('summary', '');
    if (how === 'refuse') return { text: 'I would rather not.', stop: 'refusal' };
    if (how === 'call') return { calls: [oneCall(view, 0)] };
    if (how === 'fail') return { fault: { kind: 'status', status: 500, attempts: 'always' } };
    if (how === 'reject') return { fault: { kind: 'status', status: 400, attempts: 'always' } };
    const said = view.lastAssistantText.slice(0, 200);
    return { text: `Summary: ${view.turn} turns, ${view.calls.length} results; the last words were: ${said}` };
  },
});

/** In the order of the guide. */
export const plainScripts: readonly Script[] = [
  echo,
  plan,
  longLoop,
  stuck,
  manyCalls,
  unknownTool,
  badArguments,
  malformedJson,
  slowStream,
];

function oneCall(view: ConversationView, index: number): ScriptedCall {
  const vary = view.param('vary', '');
  const args = view.param<Record<string, unknown>>('args', {});
  const value = 1 + (index % view.param('modulo', Number.MAX_SAFE_INTEGER));
  return { tool: view.param('tool', 'list_projects'), args: vary === '' ? args : { ...args, [vary]: value } };
}

/** By what was said last, not by what is there: a run may leave the oldest turns out of a long conversation. */
function turnsSpoken(view: ConversationView): number {
  return Number(/^Turn (\d+) of/.exec(view.lastAssistantText)?.[1] ?? 0);
}

function reportLast(view: ConversationView): ScriptedAnswer {
  const [call] = view.callsOfTurn();
  return { text: `The result was${call?.isError === true ? ' an error' : ''}: ${call?.text ?? 'nothing'}` };
}

function failed(view: ConversationView): number {
  return view.calls.filter((call) => call.isError).length;
}
