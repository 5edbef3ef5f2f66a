const BATCH_MS = 40;

/**
 * Writes streamed text in batches, one at a time, in order. What it writes is for watchers only: a failed write is
 * dropped, because the final text is stored with the message. An answer that is done within one batch writes nothing.
 */
export class TextWriter {
  readonly #write: (start: number, text: string) => Promise<void>;
  #buffer = '';
  #start = 0;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(write: (start: number, text: string) => Promise<void>) {
    this.#write = write;
  }

  add(text: string): void {
    if (this.#stopped) return;
    this.#buffer += text;
    this.#timer ??= setTimeout(() => this.#flush(), BATCH_MS);
  }

  /** Drops what is left and waits for the write under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#writing;
  }

  #flush(): void {
    const [start, text] = [this.#start, this.#buffer];
    this.#start += text.length;
    this.#buffer = '';
    this.#writing = this.#writing
      .then(() => this.#write(start, text))
      .catch(() => undefined)
      .finally(() => {
        this.#timer = undefined;
        if (this.#buffer !== '' && !this.#stopped) this.#timer = setTimeout(() => this.#flush(), BATCH_MS);
      });
  }
}
