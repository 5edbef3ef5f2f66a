import { ConversationView } from './conversation.ts';
import { play, type Script, ScriptError, type ScriptedAnswer } from './script.ts';
import { type Request, requestSchema } from './wire.ts';

/** What a tool of a rehearsal says: its result, or an Error, whose message the model is shown as a failed call. */
export type RehearsedTool = (args: Readonly<Record<string, unknown>>) => unknown;

/** A conversation to rehearse. */
export interface Rehearsal {
  readonly message: string;
  readonly system?: string;
  readonly tools?: Readonly<Record<string, RehearsedTool>>;
  /** The most turns; one more throws ScriptError. Default 100. */
  readonly maxTurns?: number;
}

/**
 * Plays a script to its end against tools given as functions, with no server in between. Returns its answers in order.
 * For tests of scripts: throws ScriptError where the script does, or where it calls a tool that is not there.
 */
export function rehearse(script: Script, rehearsal: Rehearsal): readonly ScriptedAnswer[] {
  const { message, system = 'Rehearsal.', tools = {}, maxTurns = 100 } = rehearsal;
  const answers: ScriptedAnswer[] = [];
  const messages: unknown[] = [{ role: 'user', content: message }];
  for (let turn = 0; turn < maxTurns; turn += 1) {
    const answer = play(script, new ConversationView(request(system, Object.keys(tools), messages)));
    answers.push(answer);
    const calls = (answer.calls ?? []).map((call, index) => ({ ...call, id: `toolu_${turn}_${index}` }));
    if (calls.length === 0) return answers;
    messages.push({
      role: 'assistant',
      content: [
        ...(answer.text ? [{ type: 'text', text: answer.text }] : []),
        ...calls.map(({ id, tool, args }) => ({ type: 'tool_use', id, name: tool, input: args ?? {} })),
      ],
    });
    messages.push({
      role: 'user',
      content: calls.map(({ id, tool, args }) => ({
        type: 'tool_result',
        tool_use_id: id,
        ...use(tools, tool, args ?? {}),
      })),
    });
  }
  throw new ScriptError(`script "${script.name}" has not ended after ${maxTurns} turns`);
}

function request(system: string, tools: readonly string[], messages: readonly unknown[]): Request {
  return requestSchema.parse({
    model: 'offline-1',
    max_tokens: 1_000,
    system,
    tools: tools.map((name) => ({ name, input_schema: { type: 'object' } })),
    messages,
  });
}

function use(
  tools: Readonly<Record<string, RehearsedTool>>,
  name: string,
  args: Readonly<Record<string, unknown>>,
): { readonly content: string; readonly is_error?: true } {
  const tool = tools[name];
  if (tool === undefined) throw new ScriptError(`it calls ${name}, which is not there`);
  const result = tool(args);
  return result instanceof Error ? { content: result.message, is_error: true } : { content: JSON.stringify(result) };
}
