import OpenAI from 'openai';
import { Stream } from 'openai/core/streaming';
import { StewardError, toStewardError } from '#domain/errors.ts';
import type { ModelAnswer, ModelPort, ModelRequest } from '#domain/ports/model.ts';
import { badAnswer } from './answer-parts.ts';
import type { AnthropicOptions } from './anthropic.ts';
import { FAREWELL_MS, MOST_ANSWER_BYTES, tapped } from './event-stream.ts';
import { toModelError } from './model-errors.ts';
import { OpenAiAnswerReader } from './openai-answer.ts';
import { inputTokenUpperBound, toBody } from './openai-request.ts';
import { Watch } from './watch.ts';

/** As of the Anthropic adapter. `baseUrl` ends in `/v1` where the server's paths do. All waits are in milliseconds. */
export type OpenAiOptions = AnthropicOptions;

/**
 * The model adapter over the OpenAI SDK, in the format of Responses (ADR 9); throws MODEL_AUTH where the key is blank.
 * `complete` behaves as the Anthropic adapter's does.
 */
export function createOpenAiModel(options: OpenAiOptions): ModelPort {
  if (options.apiKey.trim() === '') {
    throw new StewardError('MODEL_AUTH', 'There is no API key for the model provider. Set OPENAI_API_KEY.');
  }
  const client = new OpenAI({
    apiKey: options.apiKey,
    baseURL: options.baseUrl ?? 'https://api.openai.com/v1',
    // The SDK would read these from the environment by itself.
    organization: null,
    project: null,
    maxRetries: 0,
    timeout: options.requestTimeoutMs ?? 600_000,
    // It would log pieces of the conversation.
    logLevel: 'off',
  });
  return {
    complete: (request, onText, signal) => complete(client, options, request, onText, signal as AbortSignal),
    estimateInputTokens: inputTokenUpperBound,
  };
}

async function complete(
  client: OpenAI,
  options: OpenAiOptions,
  request: ModelRequest,
  onText: (delta: string) => void,
  signal: AbortSignal,
): Promise<ModelAnswer> {
  if (signal.aborted) throw new StewardError('CANCELLED', 'The model call was cancelled before it was made.');
  const reader = new OpenAiAnswerReader(request, (delta) => {
    try {
      onText(delta);
    } catch (error) {
      throw toStewardError(error);
    }
  });
  const watch = new Watch(signal, options.requestTimeoutMs ?? 600_000);
  try {
    watch.allowSilence(options.responseTimeoutMs ?? 180_000);
    const response = await client.responses.create(toBody(request), { signal: watch.signal }).asResponse();
    const stream = tapped(response, watch, options.maxAnswerBytes ?? MOST_ANSWER_BYTES);
    watch.allowSilence(options.idleTimeoutMs ?? 60_000);
    await read(client, stream, reader, watch);
    if (!reader.complete) throw new Error('the stream ended before response.completed');
    return reader.answer(response.headers.get('x-request-id'));
  } catch (error) {
    const usage = reader.counted ? reader.usage() : null;
    throw toModelError({ error, endedBy: watch.endedBy, usage, now: Date.now() });
  } finally {
    watch.stop();
  }
}

async function read(client: OpenAI, stream: Response, reader: OpenAiAnswerReader, watch: Watch): Promise<void> {
  const end = new AbortController();
  const onEnd = (): void => end.abort();
  watch.signal.addEventListener('abort', onEnd, { once: true });
  try {
    for await (const event of Stream.fromSSEResponse<unknown>(stream, end, client, false, 'events')) {
      reader.take(event);
      if (reader.complete) watch.allowSilence(FAREWELL_MS);
    }
  } catch (error) {
    if (!reader.complete) throw error instanceof SyntaxError ? badAnswer('an event that is no JSON', error) : error;
    watch.forgive();
  } finally {
    watch.signal.removeEventListener('abort', onEnd);
  }
}
