import Anthropic from '@anthropic-ai/sdk';
import { MAX_TOKENS, MODEL, type NewTask, SYSTEM, TOOL } from './agent.ts';
import type { PlayInput } from './peer.ts';
import { setting, taskTable } from './task.ts';

const TOOLS: Anthropic.Tool[] = [
  {
    ...TOOL,
    input_schema: {
      type: 'object',
      properties: { project_id: { type: 'string' }, title: { type: 'string' } },
      required: ['project_id', 'title'],
      additionalProperties: false,
    },
  },
];

/** Runs a function durably under a name: once done, a replay gets its result. The result must be JSON. */
export type Step = <T>(name: string, work: () => Promise<T>) => Promise<T>;

/**
 * An agent's loop as engines document it that bring steps and no agent: every model call over the provider's SDK and
 * every tool call is one step, the conversation is a variable that a replay builds again.
 */
export function agentLoop(): { run(input: PlayInput, step: Step): Promise<void>; end(): Promise<void> } {
  const client = new Anthropic({ apiKey: 'any', baseURL: setting('ANTHROPIC_BASE_URL') });
  const tasks = taskTable();
  const say = (messages: Anthropic.MessageParam[]) =>
    client.messages.create({ model: MODEL, max_tokens: MAX_TOKENS, system: SYSTEM, tools: TOOLS, messages });
  return {
    async run({ run, text, turns }, step) {
      const messages: Anthropic.MessageParam[] = [{ role: 'user', content: text }];
      for (let turn = 1; turn <= turns + 1; turn += 1) {
        const { content } = await step('model', () => say(messages));
        const calls = content.filter((block) => block.type === 'tool_use');
        if (calls.length === 0) return;
        const results: Anthropic.ToolResultBlockParam[] = [];
        for (const call of calls) {
          const result = await step('tool', () => tasks.create(run, call.id, call.input as NewTask));
          results.push({ type: 'tool_result', tool_use_id: call.id, content: result });
        }
        messages.push({ role: 'assistant', content: content.flatMap(sentBack) }, { role: 'user', content: results });
      }
    },
    end: () => tasks.end(),
  };
}

/** A block as the provider takes it again. */
function sentBack(block: Anthropic.ContentBlock): Anthropic.ContentBlockParam[] {
  if (block.type === 'text') return [{ type: 'text', text: block.text }];
  if (block.type === 'tool_use') return [{ type: 'tool_use', id: block.id, name: block.name, input: block.input }];
  return [];
}
