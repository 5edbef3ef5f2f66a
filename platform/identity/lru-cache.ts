/** Keeps the `limit` entries used last, and of them so many that their sizes come to no more than `most`. */
export class LruCache<K, V> {
  readonly #entries = new Map<K, V>();
  readonly #limit: number;
  readonly #most: number;
  readonly #sizeOf: (value: V) => number;
  #used = 0;

  constructor(limit: number, most = Number.POSITIVE_INFINITY, sizeOf: (value: V) => number = () => 0) {
    this.#limit = limit;
    this.#most = most;
    this.#sizeOf = sizeOf;
  }

  get size(): number {
    return this.#entries.size;
  }

  get(key: K): V | undefined {
    const value = this.#entries.get(key);
    if (value === undefined) return undefined;
    // A Map keeps the order of insertion: inserted again, it is the youngest.
    this.#entries.delete(key);
    this.#entries.set(key, value);
    return value;
  }

  set(key: K, value: V): void {
    this.#remove(key);
    this.#entries.set(key, value);
    this.#used += this.#sizeOf(value);
    for (const oldest of this.#entries.keys()) {
      if (this.#entries.size <= this.#limit && this.#used <= this.#most) break;
      this.#remove(oldest);
    }
  }

  #remove(key: K): void {
    const value = this.#entries.get(key);
    if (value === undefined) return;
    this.#entries.delete(key);
    this.#used -= this.#sizeOf(value);
  }
}
