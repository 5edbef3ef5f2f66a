import { z } from 'zod';
import { StewardError } from '#domain/errors.ts';
import type { ModelPort } from '#domain/ports/model.ts';
import { createAnthropicModel } from './anthropic.ts';
import type { Wire } from './models.ts';
import { createOpenAiModel } from './openai.ts';

const address = z
  .url({ protocol: /^https?$/, error: 'must be http://… or https://…: the address of the model provider' })
  .optional();

/** What the model adapters read from the environment. A provider without key and address is not there. */
export const modelVariables = {
  /** Any text for the offline model. A secret. */
  ANTHROPIC_API_KEY: z.string().optional(),
  /** Of the offline model or a gateway. */
  ANTHROPIC_BASE_URL: address,
  /** Not needed where OPENAI_BASE_URL names a server that asks for none. A secret. */
  OPENAI_API_KEY: z.string().optional(),
  /** Of the offline model, or of any server of OpenAI's Responses: Ollama, vLLM, gateways. Ends in `/v1` as a rule. */
  OPENAI_BASE_URL: address,
} as const;

type ModelConfig = Readonly<Partial<Record<keyof typeof modelVariables, string | undefined>>>;

/** The adapters that the environment has keys for. Throws MODEL_AUTH where there is none. */
export function modelsFrom(config: ModelConfig): Partial<Record<Wire, ModelPort>> {
  const { ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL, OPENAI_API_KEY, OPENAI_BASE_URL } = config;
  const at = (baseUrl: string | undefined) => (baseUrl === undefined ? {} : { baseUrl });
  const anthropic = ANTHROPIC_API_KEY && createAnthropicModel({ apiKey: ANTHROPIC_API_KEY, ...at(ANTHROPIC_BASE_URL) });
  const openAiKey = OPENAI_API_KEY ?? (OPENAI_BASE_URL === undefined ? undefined : 'none');
  const openai = openAiKey && createOpenAiModel({ apiKey: openAiKey, ...at(OPENAI_BASE_URL) });
  if (!anthropic && !openai) {
    throw new StewardError(
      'MODEL_AUTH',
      'There is no key for a model provider. Set ANTHROPIC_API_KEY or OPENAI_API_KEY.',
    );
  }
  return { ...(anthropic ? { anthropic } : {}), ...(openai ? { openai } : {}) };
}
