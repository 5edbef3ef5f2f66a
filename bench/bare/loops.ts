/** The loops that Steward is compared with, as the benchmark starts them. */

export const BARE_TASK_QUEUE = 'steward-bench';
export const BARE_LOOP = 'bareLoop';
export const FLOOR_LOOP = 'floorLoop';

export interface LoopInput {
  readonly run: string;
  readonly turns: number;
}

export interface StepInput {
  readonly run: string;
  readonly turn: number;
}

/** Two activities a turn, with what they say and do in Postgres, by reference. The first step is there already. */
export interface BareActivities {
  /** Reads the conversation, asks the model, stores its message. One commit. */
  say(input: StepInput): Promise<{ readonly calls: number }>;
  /** Reads the call, has its effect and stores the result. One commit. */
  take(input: StepInput): Promise<{ readonly outcome: string }>;
  nothing(): Promise<void>;
}
