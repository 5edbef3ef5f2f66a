import Anthropic from '@anthropic-ai/sdk';
import { Stream } from '@anthropic-ai/sdk/streaming';
import { StewardError, toStewardError } from '#domain/errors.ts';
import type { ModelAnswer, ModelPort, ModelRequest } from '#domain/ports/model.ts';
import { AnswerReader } from './anthropic-answer.ts';
import { inputTokenUpperBound, toBody } from './anthropic-request.ts';
import { FAREWELL_MS, MOST_ANSWER_BYTES, tapped } from './event-stream.ts';
import { toModelError } from './model-errors.ts';
import { Watch } from './watch.ts';

/** All waits are in milliseconds. */
export interface AnthropicOptions {
  readonly apiKey: string;
  /** Default: the provider's own. The offline model and gateways have theirs. */
  readonly baseUrl?: string;
  /** From sending the request to the first byte of the answer. Default 180,000: long prompts take their time. */
  readonly responseTimeoutMs?: number;
  /** Silence within the stream; pings count as a sign of life. Default 60,000. */
  readonly idleTimeoutMs?: number;
  /** The whole call. Default 600,000. */
  readonly requestTimeoutMs?: number;
  /** The most that one answer's stream may carry. Default 16 MiB. */
  readonly maxAnswerBytes?: number;
}

/**
 * The model adapter over the Anthropic SDK; throws MODEL_AUTH where the key is blank. `complete` throws StewardError with a `MODEL_*` code or CANCELLED; see
 * `toModelError` for its details. An answer with stop `length` or `refusal` may be empty: what to do is the caller's.
 */
export function createAnthropicModel(options: AnthropicOptions): ModelPort {
  if (options.apiKey.trim() === '') {
    throw new StewardError('MODEL_AUTH', 'There is no API key for the model provider. Set ANTHROPIC_API_KEY.');
  }
  const client = new Anthropic({
    apiKey: options.apiKey,
    baseURL: options.baseUrl ?? 'https://api.anthropic.com',
    maxRetries: 0,
    timeout: options.requestTimeoutMs ?? 600_000,
    // The SDK would log pieces of the conversation, and tell a third party our trace ids.
    logLevel: 'off',
    openTelemetry: { propagation: false, traces: { contentMode: 'metadata_only' } },
  });
  return {
    complete: (request, onText, signal) => complete(client, options, request, onText, signal as AbortSignal),
    estimateInputTokens: inputTokenUpperBound,
  };
}

async function complete(
  client: Anthropic,
  options: AnthropicOptions,
  request: ModelRequest,
  onText: (delta: string) => void,
  signal: AbortSignal,
): Promise<ModelAnswer> {
  if (signal.aborted) throw new StewardError('CANCELLED', 'The model call was cancelled before it was made.');
  const reader = new AnswerReader(request, (delta) => {
    try {
      onText(delta);
    } catch (error) {
      throw toStewardError(error);
    }
  });
  const watch = new Watch(signal, options.requestTimeoutMs ?? 600_000);
  try {
    watch.allowSilence(options.responseTimeoutMs ?? 180_000);
    const response = await client.messages.create(toBody(request), { signal: watch.signal }).asResponse();
    const stream = tapped(response, watch, options.maxAnswerBytes ?? MOST_ANSWER_BYTES);
    watch.allowSilence(options.idleTimeoutMs ?? 60_000);
    await read(stream, reader, watch);
    if (!reader.complete) throw new Error('the stream ended before message_stop');
    return reader.answer(response.headers.get('request-id'));
  } catch (error) {
    const usage = reader.counted ? reader.usage() : null;
    throw toModelError({ error, endedBy: watch.endedBy, usage, now: Date.now() });
  } finally {
    watch.stop();
  }
}

async function read(stream: Response, reader: AnswerReader, watch: Watch): Promise<void> {
  try {
    for await (const { event, data } of Stream.rawEvents(stream)) {
      if (event === 'error') throw eventError(data);
      if (event === 'ping' || data === '') continue;
      reader.take(data);
      if (reader.complete) watch.allowSilence(FAREWELL_MS);
    }
  } catch (error) {
    if (!reader.complete) throw error;
    watch.forgive();
  }
}

/** An error within a stream has no status any more; it is told by its type. */
function eventError(data: string): unknown {
  const body = safeJson(data) as { error?: { type?: unknown; message?: unknown } } | null;
  return {
    type: typeof body?.error?.type === 'string' ? body.error.type : 'api_error',
    apiMessage: typeof body?.error?.message === 'string' ? body.error.message : null,
  };
}

function safeJson(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    return null;
  }
}
