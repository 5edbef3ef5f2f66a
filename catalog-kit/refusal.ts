const REFUSAL = 'steward.refusal/v1';
const NOT_SENT = 'steward.not-sent/v1';

/** A definite no of the domain: nothing was changed. Made by `refuse` and `forbid`. */
export class ToolRefusal extends Error {
  readonly brand = REFUSAL;
  /** In capitals, stable: TASK_NOT_FOUND. */
  readonly code: string;
  /** True where it is the user or the run that may not, rather than the domain's state. */
  readonly permission: boolean;

  constructor(code: string, message: string, permission: boolean) {
    super(message.slice(0, 2_000).toWellFormed());
    this.name = 'ToolRefusal';
    this.code = /^[A-Z][A-Z0-9_]{1,63}$/.test(code) ? code : 'REFUSED';
    this.permission = permission;
  }
}

/**
 * `throw refuse('TASK_NOT_FOUND', 'There is no task t_17. List the tasks first.')`: the transaction is rolled back and
 * the model is told. The message says what to do; the code is stable, in capitals.
 */
export function refuse(code: string, message: string): ToolRefusal {
  return new ToolRefusal(code, message, false);
}

/** As `refuse`, where the acting user or this run may not do it. */
export function forbid(code: string, message: string): ToolRefusal {
  return new ToolRefusal(code, message, true);
}

/** Thrown by a tool whose effect lies outside of the database, where the far side has definitely not acted. */
export class NotSent extends Error {
  readonly brand = NOT_SENT;
  /** The answer for good; null where a later attempt may succeed. */
  readonly refusal: ToolRefusal | null;

  constructor(message: string, refusal: ToolRefusal | null, cause: unknown) {
    super(message, { cause });
    this.name = 'NotSent';
    this.refusal = refusal;
  }
}

/**
 * `throw notSent(…)` from `execute` of a keyed or unkeyed tool: the far side has definitely not acted. A refusal is the
 * definite answer; a text means that the far side could not be used and that the call may be tried again. Every other
 * error leaves the outcome in doubt.
 */
export function notSent(reason: ToolRefusal | string, cause?: unknown): NotSent {
  return typeof reason === 'string' ? new NotSent(reason, null, cause) : new NotSent(reason.message, reason, cause);
}

/** By shape, because two copies of the kit may meet in one process. */
export function isRefusal(error: unknown): error is ToolRefusal {
  return (error as { brand?: unknown } | null)?.brand === REFUSAL;
}

export function isNotSent(error: unknown): error is NotSent {
  return (error as { brand?: unknown } | null)?.brand === NOT_SENT;
}
