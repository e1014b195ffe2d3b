/** A pattern being read: one letter, or a backslash with the letter after it, at a time. */

/** What is wrong with a pattern, and where: not yet an error in words, as only the caller knows the pattern's field. */
export class PatternFault extends Error {}

export class PatternSource {
  readonly #letters: readonly string[];
  /** The place of the next letter, from 0. */
  at = 0;

  constructor(pattern: string) {
    this.#letters = [...pattern];
  }

  /** "" at the end. */
  get next(): string {
    const letter = this.#letters[this.at] ?? "";
    if (letter !== "\\") return letter;
    const escaped = this.#letters[this.at + 1];
    if (escaped === undefined) throw this.fault("a backslash at the end");
    return letter + escaped;
  }

  take(): string {
    const { next } = this;
    this.at += next.startsWith("\\") ? 2 : next === "" ? 0 : 1;
    return next;
  }

  /** Takes the next one if it is this. */
  takes(what: string): boolean {
    if (this.next !== what) return false;
    this.take();
    return true;
  }

  /** The longest run of at most `most` of these letters. */
  run(of: RegExp, most = Infinity): string {
    let run = "";
    while (run.length < most && of.test(this.next)) run += this.take();
    return run;
  }

  /** The name before `end`, which is taken too. */
  until(end: string, what: string): string {
    let name = "";
    for (;;) {
      const letter = this.take();
      if (letter === end && name !== "") return name;
      if (letter === end || letter === "") throw this.fault(letter === "" ? `no "${end}" after a ${what}` : `no ${what}`);
      name += letter;
    }
  }

  fault(what: string): PatternFault {
    return new PatternFault(`${what} at letter ${this.at}`);
  }
}
