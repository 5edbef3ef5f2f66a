import { ScriptError } from './script.ts';
import type { Request, RequestBlock } from './wire.ts';

/** One tool call of the conversation with what came of it. */
export interface SeenCall {
  /** The assistant turn that made it, from 0. */
  readonly turn: number;
  readonly tool: string;
  readonly args: Readonly<Record<string, unknown>>;
  /** The result's text as the model is shown it. */
  readonly text: string;
  readonly isError: boolean;
}

/** The conversation as a script reads it. Helpers throw ScriptError, which the server answers by name. */
export class ConversationView {
  readonly model: string;
  readonly system: string;
  /** The text the run was started with. */
  readonly firstUserText: string;
  /** The text of the last message, without tool results. */
  readonly lastUserText: string;
  /** What the assistant said last; '' at first. */
  readonly lastAssistantText: string;
  /** Number of assistant turns so far, which is the index of the one asked for. */
  readonly turn: number;
  /** Names of the tools offered. */
  readonly tools: readonly string[];
  /** Every answered call, in order. */
  readonly calls: readonly SeenCall[];

  constructor(request: Request) {
    const assistant = request.messages.filter((message) => message.role === 'assistant');
    this.model = request.model;
    this.system = textOf(request.system);
    this.firstUserText = textOf(request.messages[0]?.content ?? []);
    this.lastUserText = textOf(request.messages.at(-1)?.content ?? []);
    this.lastAssistantText = textOf(assistant.at(-1)?.content ?? []);
    this.turn = assistant.length;
    this.tools = request.tools.map((tool) => tool.name);
    this.calls = callsOf(request);
  }

  /** The calls of one tool. */
  callsOf(tool: string): readonly SeenCall[] {
    return this.calls.filter((call) => call.tool === tool);
  }

  /** The calls of one turn; of the last one unless said. */
  callsOfTurn(turn: number = this.turn - 1): readonly SeenCall[] {
    return this.calls.filter((call) => call.turn === turn);
  }

  /** Whether the tool was called before, with success or without. */
  called(tool: string): boolean {
    return this.calls.some((call) => call.tool === tool);
  }

  /** The results of the tool's successful calls, parsed. */
  results<T>(tool: string): readonly T[] {
    return this.callsOf(tool)
      .filter((call) => !call.isError)
      .map((call) => this.json<T>(call));
  }

  /** A call's result, parsed as JSON. */
  json<T>(call: SeenCall): T {
    try {
      return JSON.parse(call.text) as T;
    } catch (cause) {
      const start = call.text.slice(0, 200);
      throw new ScriptError(`the result of ${call.tool} in turn ${call.turn} is no JSON: ${start}`, { cause });
    }
  }

  /** The object in the line `params: {…}` of the first message; {} where there is none. */
  get params(): Readonly<Record<string, unknown>> {
    const line = /^\s*params:\s*(\{.*\})\s*$/m.exec(this.firstUserText)?.[1];
    if (line === undefined) return {};
    try {
      return JSON.parse(line) as Record<string, unknown>;
    } catch (cause) {
      throw new ScriptError(`the line "params:" is no JSON object: ${line.slice(0, 200)}`, { cause });
    }
  }

  /** One parameter, of the type of its default. */
  param<T extends string | number | boolean | object>(name: string, fallback: T): T {
    const value = this.params[name];
    if (value === undefined) return fallback;
    if (typeof value === typeof fallback && Array.isArray(value) === Array.isArray(fallback)) return value as T;
    throw new ScriptError(`parameter "${name}" must be like ${JSON.stringify(fallback)}`);
  }

  /** Ends the answer with a named error: what the script expected and did not find. */
  fail(message: string): never {
    throw new ScriptError(message);
  }
}

function textOf(blocks: readonly RequestBlock[]): string {
  return blocks.flatMap((block) => (block.type === 'text' ? [block.text] : [])).join('\n');
}

function callsOf(request: Request): readonly SeenCall[] {
  const results = new Map(
    request.messages.flatMap((message) =>
      message.content.flatMap((block) => (block.type === 'tool_result' ? [[block.tool_use_id, block] as const] : [])),
    ),
  );
  let turn = -1;
  return request.messages.flatMap((message) => {
    if (message.role !== 'assistant') return [];
    turn += 1;
    return message.content.flatMap((block): SeenCall[] => {
      if (block.type !== 'tool_use') return [];
      const result = results.get(block.id);
      const content = result?.content ?? '';
      return [
        {
          turn,
          tool: block.name,
          args: block.input,
          text: typeof content === 'string' ? content : textOf(content),
          isError: result?.is_error ?? false,
        },
      ];
    });
  });
}
