import { StewardError } from '#domain/errors.ts';
import type { ModelPort } from '#domain/ports/model.ts';
import { requireModel, type Wire, wireOf } from './models.ts';

const KEYS: Readonly<Record<Wire, string>> = { anthropic: 'ANTHROPIC_API_KEY', openai: 'OPENAI_API_KEY' };

/**
 * All providers as one: each request goes to the adapter of its model's provider. Throws MODEL_UNKNOWN, and MODEL_AUTH
 * where this process has no adapter for that provider.
 */
export function createRouter(adapters: Partial<Readonly<Record<Wire, ModelPort>>>): ModelPort {
  const adapterOf = (model: string): ModelPort => {
    const wire = wireOf(model);
    const adapter = adapters[wire];
    if (adapter !== undefined) return adapter;
    const provider = requireModel(model).provider;
    throw new StewardError(
      'MODEL_AUTH',
      `Model ${model} is ${provider}'s, and there is no key for it. Set ${KEYS[wire]}.`,
    );
  };
  return {
    complete: async (request, onText, signal) => adapterOf(request.model).complete(request, onText, signal),
    estimateInputTokens: (request) => adapterOf(request.model).estimateInputTokens(request),
  };
}
