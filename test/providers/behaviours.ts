import { answerBehaviours } from './behaviours-answers.ts';
import { failureBehaviours } from './behaviours-failures.ts';
import type { ContractBench } from './bench.ts';

/** One thing every adapter does alike. `check` throws where this one does not. */
export interface Behaviour {
  readonly name: string;
  check(bench: ContractBench): Promise<void>;
}

/** The contract of a model adapter. */
export const BEHAVIOURS: readonly Behaviour[] = [...answerBehaviours, ...failureBehaviours];
