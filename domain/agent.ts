import type { AnomalyLimits } from './anomaly.ts';
import type { RunLimits, Waits } from './run.ts';

/**
 * A validated agent definition: what stands in `agents/*.yaml`. Its content hash covers this and the hashes of the
 * pinned tools; name + hash identify a version.
 */
export interface AgentDefinition {
  /** [a-z0-9][a-z0-9-]{0,62} */
  readonly name: string;
  readonly description: string;
  /** The system prompt. At most 50,000 characters. */
  readonly instructions: string;
  /** Exact model id; must be in the list of known models. */
  readonly model: string;
  /** A model of another provider, asked where `model` fails; absent where none is named. */
  readonly fallback?: string;
  /** Output tokens of one model call. */
  readonly maxOutputTokens: number;
  /** Tokens of prompt and answer together, where that is less than the model's window. */
  readonly contextTokens?: number;
  /** Tool names by catalog. A name may stand only once over all catalogs. */
  readonly tools: Readonly<Record<string, readonly string[]>>;
  readonly limits: RunLimits;
  /** Of one run. */
  readonly budgetMicroUsd: number;
  readonly waits: Waits;
  /** From where on a run is unusual; absent where the defaults are meant. */
  readonly anomalies?: Partial<AnomalyLimits>;
}
