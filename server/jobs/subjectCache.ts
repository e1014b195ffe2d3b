/** The few subjects a worker keeps open, so that the next job on the same model and adapters starts at once. */
import type { Subject } from "../runs/subject.ts";
import type { SubjectRequest } from "../wire.ts";

export type OpenSubject = (request: SubjectRequest) => Promise<Subject>;
type Held = Pick<Subject, "dispose">;

/** Least recently used goes first; a subject in use is never the one disposed of, as a worker runs one task at a time. */
export class SubjectCache<S extends Held = Subject> {
  readonly #open: (request: SubjectRequest) => Promise<S>;
  readonly #capacity: number;
  readonly #held = new Map<string, S>();

  constructor(open: (request: SubjectRequest) => Promise<S>, capacity = 2) {
    this.#open = open;
    this.#capacity = capacity;
  }

  async get(request: SubjectRequest): Promise<S> {
    const key = JSON.stringify(request);
    const held = this.#held.get(key);
    if (held) {
      this.#held.delete(key);
      this.#held.set(key, held);
      return held;
    }
    // Disposed of before opening: two large models need not be in memory at the same moment.
    for (const [oldKey, old] of this.#held) {
      if (this.#held.size < this.#capacity) break;
      this.#held.delete(oldKey);
      await old.dispose();
    }
    const subject = await this.#open(request);
    this.#held.set(key, subject);
    return subject;
  }

  async clear(): Promise<void> {
    const all = [...this.#held.values()];
    this.#held.clear();
    for (const subject of all) await subject.dispose();
  }
}
