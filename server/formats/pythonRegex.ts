/**
 * Python's `re.fullmatch` and `re.match`, for the patterns that PEFT configs hold, by backtracking that counts its steps.
 * A stranger's pattern can take longer than the age of the universe; here it is refused after the same number of steps on every machine.
 * Engines of linear time (RE2) have neither look-around nor references, which patterns of PEFT use.
 */
import type { WorkbenchError } from "../errors.ts";
import { quoted } from "../quoted.ts";
import { parsePythonPattern, refusedPattern, type PatternNode, type PythonPattern } from "./pythonPattern.ts";

export interface PatternMatch {
  readonly text: string;
  /** Text of each named group that took part. */
  readonly named: ReadonlyMap<string, string>;
}

/** Module paths take some hundreds; nested repeats take powers of two. */
export const stepBound = 100_000;
/** Of continuations within each other, far below what the stack holds. */
const depthBound = 1000;

/**
 * Whether Python's `re.fullmatch(pattern, text)` matches.
 *
 * @throws "adapter.unsupported" for what is no pattern, is not supported, or takes more than `stepBound` steps
 */
export function pythonFullmatch(pattern: string, text: string): boolean {
  return new Matching(pattern, text).from(true) !== null;
}

/**
 * Python's `re.match(pattern, text)`: anchored at the start only.
 *
 * @throws as `pythonFullmatch`
 */
export function pythonMatch(pattern: string, text: string): PatternMatch | null {
  return new Matching(pattern, text).from(false);
}

const cache = new Map<string, PythonPattern>();
const cacheLimit = 1000;

function parsed(pattern: string): PythonPattern {
  let found = cache.get(pattern);
  if (found === undefined) {
    found = parsePythonPattern(pattern);
    if (cache.size >= cacheLimit) cache.clear();
    cache.set(pattern, found);
  }
  return found;
}

/** What comes after a node, from a place on: whether all of it matches. */
type Rest = (at: number) => boolean;
type Span = readonly [begin: number, end: number];

class Matching {
  readonly #pattern: string;
  readonly #parsed: PythonPattern;
  readonly #letters: readonly string[];
  #spans: (Span | undefined)[] = [];
  #steps = 0;
  #depth = 0;

  constructor(pattern: string, text: string) {
    this.#pattern = pattern;
    this.#parsed = parsed(pattern);
    this.#letters = Array.from(text);
  }

  from(isFull: boolean): PatternMatch | null {
    let end = 0;
    const isMatch = this.#run(this.#parsed.root, 0, (at) => {
      end = at;
      return !isFull || at === this.#letters.length;
    });
    if (!isMatch) return null;
    const named = new Map<string, string>();
    for (const [name, index] of this.#parsed.names) {
      const span = this.#spans[index];
      if (span !== undefined) named.set(name, this.#letters.slice(...span).join(""));
    }
    return { text: this.#letters.slice(0, end).join(""), named };
  }

  #run(node: PatternNode, at: number, rest: Rest): boolean {
    if (++this.#steps > stepBound) throw this.#endless(`${stepBound} steps`);
    if (++this.#depth > depthBound) throw this.#endless(`${depthBound} steps within each other`);
    const isMatch = this.#tried(node, at, rest);
    this.#depth--;
    return isMatch;
  }

  #tried(node: PatternNode, at: number, rest: Rest): boolean {
    switch (node.kind) {
      case "letter":
        return this.#isIn(node, at) && rest(at + 1);
      case "place":
        return node.isAt(this.#letters, at) && rest(at);
      case "sequence":
        return this.#sequence(node.parts, 0, at, rest);
      case "choice":
        return node.options.some((option) => this.#run(option, at, rest));
      case "group":
        return this.#run(node.body, at, (end) => this.#with(node.index, [at, end], () => rest(end)));
      case "reference": {
        const end = this.#referenceEnd(node.index, at);
        return end !== null && rest(end);
      }
      case "repeat":
        return node.body.kind === "letter" ? this.#letterRun(node, node.body, at, rest) : this.#repeat(node, 0, at, rest);
      case "look": {
        const before = [...this.#spans];
        const begin = at - node.back;
        const isThere = begin >= 0 && this.#run(node.body, begin, (end) => node.back === 0 || end === at);
        if (isThere !== node.isNegative && rest(at)) return true;
        this.#spans = before;
        return false;
      }
    }
  }

  #isIn({ isIn }: PatternNode & { kind: "letter" }, at: number): boolean {
    const letter = this.#letters[at];
    return letter !== undefined && isIn(letter);
  }

  #sequence(parts: readonly PatternNode[], index: number, at: number, rest: Rest): boolean {
    const part = parts[index];
    return part === undefined ? rest(at) : this.#run(part, at, (next) => this.#sequence(parts, index + 1, next, rest));
  }

  /** Repeats of one letter, without a stack. */
  #letterRun({ least, most, isLazy }: PatternNode & { kind: "repeat" }, body: PatternNode & { kind: "letter" }, at: number, rest: Rest): boolean {
    const tried = (count: number): boolean => {
      if (++this.#steps > stepBound) throw this.#endless(`${stepBound} steps`);
      return rest(at + count);
    };
    let taken = 0;
    while (taken < least && this.#isIn(body, at + taken)) taken++;
    if (taken < least) return false;
    if (isLazy) {
      for (; !tried(taken); taken++) if (taken === most || !this.#isIn(body, at + taken)) return false;
      return true;
    }
    while (taken < most && this.#isIn(body, at + taken)) taken++;
    for (; taken >= least; taken--) if (tried(taken)) return true;
    return false;
  }

  /** A turn that takes nothing is the last, as in Python. */
  #repeat(node: PatternNode & { kind: "repeat" }, done: number, at: number, rest: Rest): boolean {
    const again = (): boolean =>
      done < node.most && this.#run(node.body, at, (end) => (end === at && done >= node.least ? rest(end) : this.#repeat(node, done + 1, end, rest)));
    if (done < node.least) return again();
    return node.isLazy ? rest(at) || again() : again() || rest(at);
  }

  #with(index: number, span: Span, rest: () => boolean): boolean {
    const before = this.#spans[index];
    this.#spans[index] = span;
    if (rest()) return true;
    this.#spans[index] = before;
    return false;
  }

  /** A group that took no part matches nothing. */
  #referenceEnd(index: number, at: number): number | null {
    const span = this.#spans[index];
    if (span === undefined) return null;
    const cased = (letter: string | undefined): string | undefined => (this.#parsed.ignoresCase ? letter?.toLowerCase() : letter);
    const isSame = this.#letters.slice(...span).every((letter, i) => cased(letter) === cased(this.#letters[at + i]));
    return isSame ? at + span[1] - span[0] : null;
  }

  #endless(bound: string): WorkbenchError {
    const text = quoted(this.#letters.slice(0, 120).join(""));
    return refusedPattern(
      this.#pattern,
      `matching ${text} takes more than ${bound}, as when repeats are nested; write it without a repeat within a repeat, or list the modules' names`,
    );
  }
}
