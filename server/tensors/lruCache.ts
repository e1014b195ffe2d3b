/** A cache bounded by count and by bytes; the least recently used entry is given up first. */
interface Entry<T> {
  readonly value: T;
  bytes: number;
}

export class LruCache<T> {
  readonly #maxCount: number;
  readonly #maxBytes: number;
  readonly #release: (value: T) => void;
  // A Map iterates in insertion order, so re-inserting on use keeps the oldest first.
  readonly #entries = new Map<string, Entry<T>>();
  bytes = 0;

  constructor(maxCount: number, maxBytes: number, release: (value: T) => void) {
    this.#maxCount = maxCount;
    this.#maxBytes = maxBytes;
    this.#release = release;
  }

  get size(): number {
    return this.#entries.size;
  }

  values(): T[] {
    return [...this.#entries.values()].map(({ value }) => value);
  }

  get(key: string): T | undefined {
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    this.#entries.delete(key);
    this.#entries.set(key, entry);
    return entry.value;
  }

  /** Adds without giving anything up; the caller calls `trim` when it is safe. */
  add(key: string, value: T, bytes: number): void {
    this.delete(key);
    this.#entries.set(key, { value, bytes });
    this.bytes += bytes;
  }

  set(key: string, value: T, bytes: number): void {
    this.add(key, value, bytes);
    this.trim();
  }

  /** Gives up the oldest entries until the bounds hold; the newest always stays. */
  trim(): void {
    for (const key of this.#entries.keys()) {
      if (this.#entries.size <= 1 || (this.#entries.size <= this.#maxCount && this.bytes <= this.#maxBytes)) return;
      this.delete(key);
    }
  }

  delete(key: string): void {
    const entry = this.#entries.get(key);
    if (!entry) return;
    this.#entries.delete(key);
    this.bytes -= entry.bytes;
    this.#release(entry.value);
  }

  clear(): void {
    for (const key of [...this.#entries.keys()]) this.delete(key);
  }
}
