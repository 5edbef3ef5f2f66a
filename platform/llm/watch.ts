/**
 * Ends one call for whichever comes first: the caller's signal, silence, or the deadline; and remembers which it was.
 * Milliseconds. `stop` must be called when the call is over.
 */
export class Watch {
  endedBy: 'caller' | 'silence' | 'deadline' | null = null;
  readonly #controller = new AbortController();
  readonly #caller: AbortSignal;
  readonly #deadline: NodeJS.Timeout;
  #silence: NodeJS.Timeout | undefined;
  #lastSign = 0;
  #allowed = 0;

  constructor(caller: AbortSignal, deadlineMs: number) {
    this.#caller = caller;
    this.#deadline = setTimeout(() => this.#end('deadline'), deadlineMs);
    caller.addEventListener('abort', this.#onCaller, { once: true });
    if (caller.aborted) this.#end('caller');
  }

  /** Aborts when the call has to end. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** From now on, this much silence ends the call. */
  allowSilence(ms: number): void {
    this.#allowed = ms;
    this.sign();
    clearTimeout(this.#silence);
    this.#arm(ms);
  }

  /** A sign of life. Cheap: called for every chunk, it sets no timer. */
  sign(): void {
    this.#lastSign = performance.now();
  }

  /** The call has what it came for; how it ended does not matter any more. */
  forgive(): void {
    this.endedBy = null;
  }

  stop(): void {
    clearTimeout(this.#deadline);
    clearTimeout(this.#silence);
    this.#caller.removeEventListener('abort', this.#onCaller);
    this.#controller.abort();
  }

  readonly #onCaller = (): void => this.#end('caller');

  #arm(ms: number): void {
    this.#silence = setTimeout(() => {
      const left = this.#silenceLeft();
      if (left > 0) this.#arm(left);
      // A process that stood still finds its timers due before it has read what came meanwhile.
      else setImmediate(() => this.#judgeSilence());
    }, ms);
  }

  #judgeSilence(): void {
    if (this.#controller.signal.aborted) return;
    const left = this.#silenceLeft();
    if (left > 0) this.#arm(left);
    else this.#end('silence');
  }

  #silenceLeft(): number {
    return this.#lastSign + this.#allowed - performance.now();
  }

  #end(by: 'caller' | 'silence' | 'deadline'): void {
    if (this.#controller.signal.aborted) return;
    this.endedBy = by;
    this.#controller.abort();
  }
}
