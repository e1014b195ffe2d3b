/** The few subjects a worker keeps open, so that the next job on the same model and adapters starts at once, at whatever strengths. */
import { atStrengths } from "../runs/strengths.ts";
import type { Subject } from "../runs/subject.ts";
import { changedFiles, subjectIdentity, subjectKey } from "../runs/subjectFiles.ts";
import type { SubjectRequest } from "../wire.ts";

/** @param begunOn the engine that a run began on, for it to go on with */
export type OpenSubject = (request: SubjectRequest, begunOn?: string | null) => Promise<Subject>;

/**
 * Least recently used goes first.
 * A subject whose files have changed since it was opened is opened anew: training over the same path and looking again is the usual loop.
 */
export class SubjectCache {
  readonly #open: OpenSubject;
  readonly #capacity: number;
  readonly #held = new Map<string, { readonly subject: Subject; readonly files: ReadonlyMap<string, string> }>();

  constructor(open: OpenSubject, capacity = 2) {
    this.#open = open;
    this.#capacity = capacity;
  }

  async get(request: SubjectRequest, begunOn: string | null = null): Promise<Subject> {
    const key = `${subjectKey(request)} ${begunOn ?? ""}`;
    // Before opening: a file that changes while it is opened differs from this.
    const files = subjectIdentity(request);
    const held = this.#held.get(key);
    this.#held.delete(key);
    if (held && changedFiles(held.files, files).length === 0) {
      this.#held.set(key, held);
      return atStrengths(held.subject, request);
    }
    // Let go of before opening: two large models need not be in memory at the same moment.
    for (const old of this.#held.keys()) {
      if (this.#held.size < this.#capacity) break;
      this.#held.delete(old);
    }
    const subject = await this.#open(request, begunOn);
    this.#held.set(key, { subject, files });
    return subject;
  }
}
