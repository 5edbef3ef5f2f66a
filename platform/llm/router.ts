import { StewardError } from '#domain/errors.ts';
import type { ModelChoice, ModelChooser, ModelPort, ModelRoute } from '#domain/ports/model.ts';
import { requireModel, type Wire, wireOf } from './models.ts';
import { ProviderHealth } from './provider-health.ts';

const KEYS: Readonly<Record<Wire, string>> = { anthropic: 'ANTHROPIC_API_KEY', openai: 'OPENAI_API_KEY' };
/** A model is asked again so often within one turn before its fallback is. */
const MOST_ERRORS = 3;

export interface RouterOptions {
  /** How long a provider that is out is left alone, in milliseconds. Default 30,000. */
  readonly halfOpenAfterMs?: number;
  readonly now?: () => number;
}

/**
 * All providers as one: each request goes to the adapter of its model's provider, and how it ends is remembered for the
 * choice between an agent's models. `complete` throws MODEL_UNKNOWN, and MODEL_AUTH where this process has no key for
 * the model's provider.
 *
 * The primary is chosen unless it has failed more than three times in this turn, or its provider is out. Where both are
 * in trouble it is the one that has failed less in this turn, the primary first.
 */
export function createRouter(
  adapters: Partial<Readonly<Record<Wire, ModelPort>>>,
  options: RouterOptions = {},
): ModelPort & ModelChooser {
  const health: Readonly<Record<Wire, ProviderHealth>> = {
    anthropic: new ProviderHealth(options.halfOpenAfterMs ?? 30_000, options.now),
    openai: new ProviderHealth(options.halfOpenAfterMs ?? 30_000, options.now),
  };
  const adapterOf = (model: string): ModelPort => {
    const wire = wireOf(model);
    const adapter = adapters[wire];
    if (adapter !== undefined) return adapter;
    const message = `There is no key for ${model}, a model of ${requireModel(model).provider}. Set ${KEYS[wire]}.`;
    throw new StewardError('MODEL_AUTH', message);
  };
  const trouble = (model: string, errors: number): 'errors' | 'unavailable' | null => {
    if (errors > MOST_ERRORS) return 'errors';
    return health[wireOf(model)].available ? null : 'unavailable';
  };
  return {
    async complete(request, onText, signal) {
      const adapter = adapterOf(request.model);
      return health[wireOf(request.model)].watch(() => adapter.complete(request, onText, signal));
    },

    estimateInputTokens: (request) => adapterOf(request.model).estimateInputTokens(request),

    choose({ primary, fallback, errors }: ModelRoute): ModelChoice {
      const first: ModelChoice = { model: primary, wire: wireOf(primary), why: 'primary' };
      if (fallback === null || adapters[wireOf(fallback)] === undefined) return first;
      const second = (why: ModelChoice['why']): ModelChoice => ({ model: fallback, wire: wireOf(fallback), why });
      if (adapters[wireOf(primary)] === undefined) return second('no_key');
      const why = trouble(primary, errors.primary);
      if (why === null) return first;
      if (trouble(fallback, errors.fallback) === null) return second(why);
      return errors.fallback < errors.primary ? second(why) : first;
    },
  };
}
