import { StewardError } from '#domain/errors.ts';

/** What Steward must know of a model before an agent may name it. Its prices stand in `domain/prices.ts`. */
export interface ModelInfo {
  /** The exact id the provider answers to. */
  readonly id: string;
  /** `offline`: answered by services/offline-model only; the rest by Anthropic, or by the offline model in its place. */
  readonly provider: 'anthropic' | 'offline';
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

/** The models an agent may name. Source of the limits: https://platform.claude.com/docs/en/models/overview */
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
  { id: 'offline-1', provider: 'offline', contextWindow: 200_000, maxOutput: 64_000 },
];

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
