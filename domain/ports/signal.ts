/**
 * The part of the standard AbortSignal that ports speak of. `domain` compiles without Node's or the DOM's types, so it
 * names the shape; callers pass a real AbortSignal and adapters may declare one.
 */
export interface CancelSignal {
  readonly aborted: boolean;
  readonly reason: unknown;
  throwIfAborted(): void;
}
