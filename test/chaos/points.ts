/** The processes that are killed. */
export const TARGETS = ['worker', 'guard', 'projects', 'messaging', 'run-api'] as const;
/** The servers that the others keep their state in. They are killed wherever they are. */
export const SERVERS = ['postgres', 'temporal'] as const;
/** With those that other suites kill. */
export type Target = (typeof TARGETS)[number] | 'orders';

/** The places where a process ends itself with SIGKILL once the place is armed. */
export const POINTS = {
  worker: {
    /** Execute has answered; its result is not stored. */
    'after-effect': 'effect done, result not stored',
    /** The model has answered; its message is not stored. */
    'after-model-answer': 'model answered, message not stored',
  },
  guard: {
    'after-authorize': 'call marked started, grant not handed out',
    'after-judge': 'verdicts committed, not answered',
    'after-decide': 'decision committed, not answered',
  },
  projects: { 'after-commit': 'effect and receipt committed, not answered' },
  orders: { 'after-commit': 'effect and receipt committed, not answered' },
  messaging: {
    'after-far-effect': 'mail handed over, receipt not stored',
    'after-commit': 'receipt committed, not answered',
  },
  'run-api': {
    'before-start': 'run committed, Temporal not told',
    'before-answer': 'run started, caller not answered',
  },
} as const satisfies Record<Target, Readonly<Record<string, string>>>;

/** A place in a catalog where an Execute is held back until its caller has given up. It ends nothing. */
export const LATE = 'late';
/** Noted where such an Execute took effect after all: before Resolve could keep it from it. */
export const LATE_DONE = 'late-done';

/** What may be switched off, to see that the suite would notice. */
export const SABOTAGES = ['receipts', 'resolve', 'patched'] as const;
export type Sabotage = (typeof SABOTAGES)[number];

/** Variables that tell the suite's own processes what to do. */
export const FOLDER_VARIABLE = 'CHAOS_FOLDER';
export const SABOTAGE_VARIABLE = 'CHAOS_SABOTAGE';
/** Milliseconds by which a process's clock is ahead; negative: behind. */
export const CLOCK_VARIABLE = 'CHAOS_CLOCK_MS';
/** Share of the notifications of Postgres that never reach a process. */
export const DROP_VARIABLE = 'CHAOS_DROP_NOTIFIES';
/** In the suite's folder: the path of the workflow bundle that workers take, once they have been rolled. */
export const BUNDLE_FILE = 'bundle';
/** In the suite's folder: a byte for each of them. */
export const DROPPED_FILE = 'dropped';

/** How far each process's clock is off, as a share of the suite's skew. */
export const SKEWS: Readonly<Record<Target, number>> = {
  worker: -0.5,
  guard: 1,
  projects: -1,
  messaging: 0.5,
  orders: 0,
  'run-api': 0,
};
