/** The few subjects a worker keeps open, so that the next job on the same model and adapters starts at once. */
import type { Subject } from "../runs/subject.ts";
import { changedFiles, subjectIdentity } from "../runs/subjectFiles.ts";
import type { SubjectRequest } from "../wire.ts";

export type OpenSubject = (request: SubjectRequest) => Promise<Subject>;
type Held = Pick<Subject, "dispose">;

/**
 * Least recently used goes first; a subject in use is never the one disposed of, as a worker runs one task at a time.
 * A subject whose files have changed since it was opened is opened anew: training over the same path and looking again is the usual loop.
 */
export class SubjectCache<S extends Held = Subject> {
  readonly #open: (request: SubjectRequest) => Promise<S>;
  readonly #capacity: number;
  readonly #held = new Map<string, { readonly subject: S; readonly files: ReadonlyMap<string, string> }>();

  constructor(open: (request: SubjectRequest) => Promise<S>, capacity = 2) {
    this.#open = open;
    this.#capacity = capacity;
  }

  async get(request: SubjectRequest): Promise<S> {
    const key = JSON.stringify(request);
    // Before opening: a file that changes while it is opened differs from this.
    const files = subjectIdentity(request);
    const held = this.#held.get(key);
    if (held) this.#held.delete(key);
    if (held && changedFiles(held.files, files).length === 0) {
      this.#held.set(key, held);
      return held.subject;
    }
    await held?.subject.dispose();
    // Disposed of before opening: two large models need not be in memory at the same moment.
    for (const [oldKey, old] of this.#held) {
      if (this.#held.size < this.#capacity) break;
      this.#held.delete(oldKey);
      await old.subject.dispose();
    }
    const subject = await this.#open(request);
    this.#held.set(key, { subject, files });
    return subject;
  }

  async clear(): Promise<void> {
    const all = [...this.#held.values()];
    this.#held.clear();
    for (const { subject } of all) await subject.dispose();
  }
}
