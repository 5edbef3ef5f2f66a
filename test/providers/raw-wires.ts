/** The bytes of a provider's stream, as a server that means ill or has grown would send them. Nothing here is checked. */
export interface RawWire {
  /** The stream begins. */
  begin(): string;
  text(index: number, said: string): string;
  call(index: number, id: string, args: string): string;
  /** Ends as `how` says, at 7 tokens of input and 9 of output. `novel`: in a way the format did not have. */
  end(how: 'said' | 'calls' | 'length' | 'refusal' | 'novel'): string;
  /** Events and items nobody knows yet. */
  novelty(): string;
  /** A known event that lacks what it must have. */
  misshapen(): string;
  /** A piece of something that was never begun. */
  orphan(): string;
  /** How it says that an account has no money: status and body. */
  unpaid(): { readonly status: number; readonly body: object };
}

type Event = { readonly type: string } & Readonly<Record<string, unknown>>;
const bytes = (event: Event): string => `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`;
const all = (...events: readonly Event[]): string => events.map(bytes).join('');

const STOPS = { said: 'end_turn', calls: 'tool_use', length: 'max_tokens', refusal: 'refusal', novel: 'something_new' };

/** Anthropic's Messages. */
export const anthropicRaw: RawWire = {
  begin: () => {
    const message = { model: 'claude-sonnet-5-5', usage: { input_tokens: 7, output_tokens: 1 } };
    return all({ type: 'message_start', message });
  },
  text: (index, said) =>
    all(
      { type: 'content_block_start', index, content_block: { type: 'text', text: '' } },
      { type: 'content_block_delta', index, delta: { type: 'text_delta', text: said } },
      { type: 'content_block_stop', index },
    ),
  call: (index, id, args) =>
    all(
      { type: 'content_block_start', index, content_block: { type: 'tool_use', id, name: 'look', input: {} } },
      { type: 'content_block_delta', index, delta: { type: 'input_json_delta', partial_json: args } },
      { type: 'content_block_stop', index },
    ),
  end: (how) =>
    all(
      { type: 'message_delta', delta: { stop_reason: STOPS[how] }, usage: { output_tokens: 9 } },
      { type: 'message_stop' },
    ),
  novelty: () =>
    all(
      { type: 'weather', of: ['any', 'shape'] },
      { type: 'content_block_start', index: 40, content_block: { type: 'hologram', depth: 3 } },
      { type: 'content_block_delta', index: 40, delta: { type: 'hologram_delta', depth: 4 } },
    ),
  misshapen: () => all({ type: 'content_block_start', index: 'x' }),
  orphan: () => all({ type: 'content_block_delta', index: 30, delta: { type: 'text_delta', text: 'x' } }),
  unpaid: () => ({ status: 402, body: { type: 'error', error: { type: 'billing_error', message: 'Pay first.' } } }),
};

const response = { id: 'resp_1', object: 'response', model: 'gpt-6-sol', output: [] };
const usage = { input_tokens: 7, output_tokens: 9, input_tokens_details: {}, output_tokens_details: {} };

/** OpenAI's Responses. */
export const openAiRaw: RawWire = {
  begin: () => all({ type: 'response.created', response: { ...response, status: 'in_progress' } }),
  text: (output_index, said) => {
    const item = { type: 'message', id: `msg_${output_index}`, role: 'assistant' };
    return all(
      { type: 'response.output_item.added', output_index, item: { ...item, content: [] } },
      { type: 'response.output_text.delta', output_index, content_index: 0, delta: said },
      {
        type: 'response.output_item.done',
        output_index,
        item: { ...item, content: [{ type: 'output_text', text: said }] },
      },
    );
  },
  call: (output_index, call_id, args) => {
    const item = { type: 'function_call', id: `fc_${output_index}`, call_id, name: 'look' };
    return all(
      { type: 'response.output_item.added', output_index, item: { ...item, arguments: '' } },
      { type: 'response.function_call_arguments.delta', output_index, delta: args },
      { type: 'response.output_item.done', output_index, item: { ...item, arguments: args } },
    );
  },
  end: (how) => {
    if (how === 'said' || how === 'calls') return all({ type: 'response.completed', response: { ...response, usage } });
    const reason = { length: 'max_output_tokens', refusal: 'content_filter', novel: 'something_new' }[how];
    return all({ type: 'response.incomplete', response: { ...response, incomplete_details: { reason }, usage } });
  },
  novelty: () =>
    all(
      { type: 'response.weather', of: ['any', 'shape'] },
      { type: 'response.output_item.added', output_index: 40, item: { type: 'hologram', depth: 3 } },
      { type: 'response.hologram.delta', output_index: 40, depth: 4 },
      { type: 'response.output_item.done', output_index: 40, item: { type: 'hologram', depth: 4 } },
    ),
  misshapen: () => all({ type: 'response.output_item.added', output_index: 'x' }),
  orphan: () => all({ type: 'response.output_text.delta', output_index: 30, delta: 'x' }),
  unpaid: () => ({
    status: 429,
    body: { error: { type: 'insufficient_quota', code: 'insufficient_quota', message: 'Pay first.', param: null } },
  }),
};
