import type { Transaction } from 'kysely';
import type { z } from 'zod';
import type { JsonObject } from '#domain/json.ts';
import type { Change, DataLabel, EffectClass, Risk } from '#domain/tools.ts';

/** What a tool knows about the call it serves. It acts as `user`, within `tenant`, and as nobody else. */
export interface ToolContext {
  readonly tenant: string;
  /** The acting user, from the verified run grant. */
  readonly user: string;
  readonly run: string;
  readonly call: string;
  /** The idempotency key: give it, or an id derived from it, to the far side. */
  readonly key: string;
  /** Aborted at the deadline and when the caller cancels or goes away. */
  readonly signal: AbortSignal;
  readonly deadline: Date;
  /** Whether the run grant carries a permission for its user. */
  hasPermission(name: string): boolean;
  /** Whether the run's narrowing leaves a resource, `project/apollo`. */
  mayTouch(resource: string): boolean;
  /** Refuses with RESOURCE_DENIED what `mayTouch` denies. Ask it for what only the catalog knows: a task's project. */
  requireResource(resource: string): void;
}

/** With the transaction of this call: its statements see the tenant's rows only, and end at the deadline. */
export interface DatabaseContext<Tables> extends ToolContext {
  readonly db: Transaction<Tables>;
}

/** What an effect did. */
export interface Effect<Result> {
  readonly result: Result;
  readonly change: Change;
}

/** An effect as it was recorded. */
export interface Recorded<Args, Result> {
  readonly args: Args;
  readonly result: Result;
  readonly change: Change;
}

interface Described<Tables, I extends z.ZodObject, O extends z.ZodObject> {
  /** [a-z][a-z0-9_]{0,63}, unique in the catalog. */
  readonly name: string;
  readonly version: string;
  /** Prompt text for the model: what it does, when to use it. At most 4,000 characters. */
  readonly description: string;
  /** z.strictObject of plain, bounded fields; what refinements would say belongs into `check`. */
  readonly input: I;
  readonly output: O;
  readonly labels?: readonly DataLabel[];
  /** Arguments a person must be able to trust: recipient, amount, address. */
  readonly sensitiveFields?: readonly (keyof z.output<I> & string)[];
  /** Arguments never shown outside the catalog and the approver's page. Reserved: no agent takes a tool that names any yet. */
  readonly redactedFields?: readonly (keyof z.output<I> & string)[];
  /** Templates over the arguments, `task/{task_id}`: calls with a common key run in order. */
  readonly resourceKeys?: readonly string[];
  /** Permissions the acting user needs; checked by the kit. */
  readonly permissions?: readonly string[];
  /** Most time one Execute takes, in milliseconds. Default 10,000, at most 60,000. */
  readonly timeoutMs?: number;
  /** Refuses arguments that fit the schema and still make no sense here. Reads only. */
  check?(ctx: DatabaseContext<Tables>, args: z.output<I>): Promise<void>;
}

/** Reads only. */
export interface ReadTool<Tables, I extends z.ZodObject, O extends z.ZodObject> extends Described<Tables, I, O> {
  readonly effect: 'none';
  readonly risk: Extract<Risk, 'safe'>;
  execute(ctx: DatabaseContext<Tables>, args: z.output<I>): Promise<z.output<O>>;
}

interface Effectful<Tables, I extends z.ZodObject, O extends z.ZodObject> extends Described<Tables, I, O> {
  readonly risk: Exclude<Risk, 'safe'>;
  /** Names of what the effect spends, with units: `emails`, `rows.deleted`, `refund.cents`. */
  readonly quantities?: readonly string[];
  /** What the call would change. Reads only. Needed where the risk is destructive or irreversible. */
  preview?(ctx: DatabaseContext<Tables>, args: z.output<I>): Promise<Change>;
}

/** The effect is rows of this database: it happens in the transaction that stores its receipt. */
export interface TransactionalTool<Tables, I extends z.ZodObject, O extends z.ZodObject>
  extends Effectful<Tables, I, O> {
  readonly effect: 'transactional';
  execute(ctx: DatabaseContext<Tables>, args: z.output<I>): Promise<Effect<z.output<O>>>;
  /**
   * Takes the effect back, or refuses with CHANGED_SINCE where the record is no longer as the effect left it. Returns
   * what the undo changed. Needed unless the risk is irreversible.
   */
  undo?(ctx: DatabaseContext<Tables>, recorded: Recorded<z.output<I>, z.output<O>>): Promise<Change>;
}

/**
 * The effect lies elsewhere. Between two transactions, so without one: what the database must say is said in `check`,
 * which runs in the transaction that stores the intent. `keyed`: the far side takes `ctx.key` or an id made of it, and
 * the same call may reach it again. `unkeyed`: it takes none, and nothing is ever sent twice.
 */
export interface FarTool<Tables, I extends z.ZodObject, O extends z.ZodObject> extends Effectful<Tables, I, O> {
  readonly effect: 'keyed' | 'unkeyed';
  /** Throw `notSent(…)` where the far side has definitely not acted; every other error leaves the outcome in doubt. */
  execute(ctx: ToolContext, args: z.output<I>): Promise<Effect<z.output<O>>>;
  undo?(ctx: ToolContext, recorded: Recorded<z.output<I>, z.output<O>>): Promise<Change>;
}

export type ToolSpec<Tables, I extends z.ZodObject, O extends z.ZodObject> =
  | ReadTool<Tables, I, O>
  | TransactionalTool<Tables, I, O>
  | FarTool<Tables, I, O>;

/** A tool ready to be served. Made by `defineTool` only. */
export interface Tool {
  readonly name: string;
  readonly version: string;
  readonly description: string;
  readonly effect: EffectClass;
  readonly risk: Risk;
  readonly labels: readonly DataLabel[];
  readonly sensitiveFields: readonly string[];
  readonly redactedFields: readonly string[];
  readonly resourceKeys: readonly string[];
  readonly permissions: readonly string[];
  readonly quantities: readonly string[];
  readonly timeoutMs: number;
  readonly input: z.ZodObject;
  readonly output: z.ZodObject;
  readonly inputSchema: JsonObject;
  readonly outputSchema: JsonObject;
  readonly run: ToolFunctions;
}

/** A tool's functions without their types: the kit has parsed the arguments, and gives each the context it is due. */
export interface ToolFunctions {
  check?(ctx: ToolContext, args: unknown): Promise<void>;
  preview?(ctx: ToolContext, args: unknown): Promise<Change>;
  execute(ctx: ToolContext, args: unknown): Promise<unknown>;
  undo?(ctx: ToolContext, recorded: Recorded<unknown, unknown>): Promise<Change>;
}
