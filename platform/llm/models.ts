import { StewardError } from '#domain/errors.ts';

/** What Steward must know of a model before an agent may name it. Its prices stand in `domain/prices.ts`. */
export interface ModelInfo {
  /** The exact id the provider answers to. */
  readonly id: string;
  /** `offline`: answered by services/offline-model only; the rest by their provider, or by the offline model in its place. */
  readonly provider: 'anthropic' | 'openai' | 'offline';
  /** Tokens of prompt and answer together. */
  readonly contextWindow: number;
  /** The most output tokens one call may ask for. */
  readonly maxOutput: number;
}

const claude = (id: string, contextWindow = 1_000_000, maxOutput = 128_000): ModelInfo => ({
  id,
  provider: 'anthropic',
  contextWindow,
  maxOutput,
});

const gpt = (id: string): ModelInfo => ({ id, provider: 'openai', contextWindow: 1_050_000, maxOutput: 128_000 });

/**
 * The models an agent may name. Sources of the limits: https://platform.claude.com/docs/en/models/overview and
 * https://developers.openai.com/api/docs/models, the latter as https://docs.litellm.ai/blog repeats it for each model.
 */
export const MODELS: readonly ModelInfo[] = [
  claude('claude-fable-5-2'),
  claude('claude-fable-5-1'),
  claude('claude-opus-5-5'),
  claude('claude-opus-5'),
  claude('claude-sonnet-5-5'),
  claude('claude-sonnet-5'),
  claude('claude-haiku-5-5'),
  claude('claude-haiku-4-5', 200_000, 64_000),
  claude('claude-haiku-4-5-20251001', 200_000, 64_000),
  gpt('gpt-6-astra'),
  gpt('gpt-6.1-sol'),
  gpt('gpt-6.1-terra'),
  gpt('gpt-6-sol'),
  gpt('gpt-6-luna'),
  { id: 'offline-1', provider: 'offline', contextWindow: 200_000, maxOutput: 64_000 },
];

/** Whose format a model is asked in. The offline model's own speaks Anthropic's. */
export type Wire = 'anthropic' | 'openai';

/** The format to ask a model in. Throws MODEL_UNKNOWN. */
export function wireOf(id: string): Wire {
  return requireModel(id).provider === 'openai' ? 'openai' : 'anthropic';
}

/** The model of that id, or undefined. */
export function findModel(id: string): ModelInfo | undefined {
  return MODELS.find((model) => model.id === id);
}

/** The model of that id. Throws MODEL_UNKNOWN, naming the known ones. */
export function requireModel(id: string): ModelInfo {
  const model = findModel(id);
  if (model !== undefined) return model;
  const known = MODELS.map((candidate) => candidate.id).join(', ');
  throw new StewardError('MODEL_UNKNOWN', `Model "${id}" is not known. Use one of: ${known}.`, {
    details: { model: id },
  });
}
