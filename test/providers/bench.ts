import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Message, ToolCallBlock } from '#domain/conversation.ts';
import { isStewardError, type StewardError } from '#domain/errors.ts';
import type { ModelAnswer, ModelPort, ModelRequest } from '#domain/ports/model.ts';
import { type AnthropicOptions, createAnthropicModel } from '#platform/llm/anthropic.ts';
import { createOpenAiModel } from '#platform/llm/openai.ts';
import { type OfflineModel, startOfflineModel } from '#services/offline-model/server.ts';
import { anthropicRaw, openAiRaw, type RawWire } from './raw-wires.ts';

/** The adapters there are, under the names the figures have. */
export const PROVIDERS = ['anthropic', 'openai'] as const;
export type Provider = (typeof PROVIDERS)[number];

/** One adapter over its real SDK, against the offline model and against a server that says whatever it is told to. */
export interface ContractBench {
  readonly provider: Provider;
  readonly model: string;
  readonly raw: RawWire;
  /** The adapter against the offline model. */
  port(options?: Partial<AnthropicOptions>): ModelPort;
  /** The adapter against a server that answers with `say`. */
  told(say: (res: ServerResponse, req: IncomingMessage) => void, options?: Partial<AnthropicOptions>): ModelPort;
  /** As `told`, with a stream of these bytes. */
  streaming(parts: readonly string[], options?: Partial<AnthropicOptions>): ModelPort;
  /** A first request for a script of the offline model. */
  request(script: string, params?: object, changes?: Partial<ModelRequest>): ModelRequest;
  /** What the offline model saw of a request's run. */
  seen(request: ModelRequest): OfflineModel['requests'];
  /** Requests that the told server got since it was told. */
  requestsTold(): number;
  close(): Promise<void>;
}

const MODEL: Readonly<Record<Provider, string>> = { anthropic: 'claude-sonnet-5-5', openai: 'gpt-6-sol' };
const INSTRUCTIONS = 'You help people with their projects. '.repeat(20);

/** Brings the bench of one adapter up. */
export async function contractBench(provider: Provider): Promise<ContractBench> {
  const offline = await startOfflineModel();
  let say: (res: ServerResponse, req: IncomingMessage) => void = (res) => res.destroy();
  let asked = 0;
  const server = createServer((req, res) => {
    req.resume().once('end', () => {
      asked += 1;
      say(res, req);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const rawUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const at = (url: string, options: Partial<AnthropicOptions> = {}): ModelPort =>
    provider === 'anthropic'
      ? createAnthropicModel({ apiKey: 'any', baseUrl: url, ...options })
      : createOpenAiModel({ apiKey: 'any', baseUrl: `${url}/v1`, ...options });
  let runs = 0;
  const bench: ContractBench = {
    provider,
    model: MODEL[provider],
    raw: provider === 'anthropic' ? anthropicRaw : openAiRaw,
    port: (options) => at(offline.url, options),
    told(next, options) {
      say = next;
      asked = 0;
      return at(rawUrl, options);
    },
    streaming: (parts, options) =>
      bench.told((res) => {
        res.writeHead(200, { 'content-type': 'text/event-stream' });
        res.end(parts.join(''));
      }, options),
    request(script, params = {}, changes = {}) {
      runs += 1;
      return {
        model: MODEL[provider],
        system: `${INSTRUCTIONS} Of ${provider} ${runs}.`,
        tools: ['list_projects', 'look'].map((name) => ({
          name,
          description: `Does ${name}.`,
          inputSchema: { type: 'object' },
        })),
        messages: [
          { role: 'user', content: [{ type: 'text', text: `script: ${script}\nparams: ${JSON.stringify(params)}` }] },
        ],
        maxOutputTokens: 4_000,
        turn: 0,
        runId: `run-${runs}`,
        ...changes,
      };
    },
    seen: (request) => offline.requests.filter((one) => one.userId === request.runId),
    requestsTold: () => asked,
    async close() {
      server.close();
      server.closeAllConnections();
      await offline.close();
    },
  };
  return bench;
}

/** Asks once, listening to nothing. */
export function ask(port: ModelPort, request: ModelRequest): Promise<ModelAnswer> {
  return port.complete(request, () => {}, new AbortController().signal);
}

/** How a call failed. Throws where it did not, or not as an adapter fails. */
export async function failureOf(call: Promise<unknown>): Promise<StewardError> {
  try {
    await call;
  } catch (error) {
    if (isStewardError(error)) return error;
    throw error;
  }
  assert.fail('the call did not fail');
}

/** The tool calls of an answer. */
export function callsIn(answer: ModelAnswer): readonly ToolCallBlock[] {
  return answer.content.filter((block) => block.type === 'tool_call');
}

/** The text of an answer. */
export function textIn(answer: ModelAnswer): string {
  return answer.content.flatMap((block) => (block.type === 'text' ? [block.text] : [])).join('');
}

/** The next request of the same run, stored and read in between: what the model said, and a result for each call. */
export function next(before: ModelRequest, answer: ModelAnswer, failed = false): ModelRequest {
  const { content } = JSON.parse(JSON.stringify(answer)) as ModelAnswer;
  const results = callsIn(answer).map(({ callId, providerId, tool }) => {
    const text = JSON.stringify({ from: tool, padding: 'x'.repeat(60) });
    return { type: 'tool_result' as const, callId, providerId, text, isError: failed };
  });
  const messages: Message[] = [
    ...before.messages,
    { role: 'assistant', content },
    { role: 'user', content: results.length > 0 ? results : [{ type: 'text', text: 'Go on.' }] },
  ];
  return { ...before, messages, turn: before.turn + 1 };
}
