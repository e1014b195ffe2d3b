/**
 * Patterns of Python's `re` as trees. A parser of its own: the dialect is Python's, and what a JavaScript engine would read
 * differently (`$`, `\w`, `{,n}`, a reference to a group that took no part) is read as Python reads it.
 */
import { WorkbenchError } from "../errors.ts";
import { quoted } from "../quoted.ts";

export type PatternNode =
  | { readonly kind: "letter"; readonly isIn: (letter: string) => boolean }
  | { readonly kind: "place"; readonly isAt: (letters: readonly string[], at: number) => boolean }
  | { readonly kind: "sequence"; readonly parts: readonly PatternNode[] }
  | { readonly kind: "choice"; readonly options: readonly PatternNode[] }
  | { readonly kind: "group"; readonly index: number; readonly body: PatternNode }
  | { readonly kind: "reference"; readonly index: number }
  | { readonly kind: "repeat"; readonly body: PatternNode; readonly least: number; readonly most: number; readonly isLazy: boolean }
  | { readonly kind: "look"; readonly body: PatternNode; readonly isNegative: boolean; /** Letters back; 0 ahead. */ readonly back: number };

export interface PythonPattern {
  readonly root: PatternNode;
  /** Index of each named group. */
  readonly names: ReadonlyMap<string, number>;
  readonly ignoresCase: boolean;
}

const deepestGroup = 100;
const digit = /^\p{Nd}$/u;
const word = /^[\p{L}\p{N}_]$/u;
const space = /^[\s\x1c-\x1f\x85]$/u;
const isSpace = (letter: string): boolean => letter !== "\ufeff" && space.test(letter);
const classes: Readonly<Record<string, (letter: string) => boolean>> = {
  d: (letter) => digit.test(letter),
  D: (letter) => !digit.test(letter),
  w: (letter) => word.test(letter),
  W: (letter) => !word.test(letter),
  s: isSpace,
  S: (letter) => !isSpace(letter),
};
const controls: Readonly<Record<string, string>> = { a: "\x07", f: "\f", n: "\n", r: "\r", t: "\t", v: "\v" };
const own = <T>(table: Readonly<Record<string, T>>, key: string): T | undefined => (Object.hasOwn(table, key) ? table[key] : undefined);

const isWordAt = (letters: readonly string[], at: number): boolean => word.test(letters[at] ?? "");
const isBoundary = (letters: readonly string[], at: number): boolean => isWordAt(letters, at - 1) !== isWordAt(letters, at);

/** @throws "adapter.unsupported" for what is no pattern or is left out here: flags x and L, flags of a part, conditionals, atomic groups, possessive repeats */
export function parsePythonPattern(pattern: string): PythonPattern {
  return new Parser(pattern).parsed();
}

export function refusedPattern(pattern: string, what: string): WorkbenchError {
  return new WorkbenchError("adapter.unsupported", `regular expression ${quoted(pattern)}: ${what}`);
}

class Parser {
  readonly #pattern: string;
  readonly #rest: readonly string[];
  #at = 0;
  #depth = 0;
  #groups = 0;
  readonly #closed = new Set<number>();
  readonly #names = new Map<string, number>();
  readonly #flags: string;

  constructor(pattern: string) {
    this.#pattern = pattern;
    const flags = /^\(\?([aimsuLx]+)\)/.exec(pattern);
    this.#flags = flags?.[1] ?? "";
    if (/[xL]/.test(this.#flags)) throw this.#refused(`the flags (?${this.#flags})`);
    this.#rest = Array.from(pattern.slice(flags?.[0].length ?? 0));
  }

  parsed(): PythonPattern {
    const root = this.#choice();
    if (this.#at < this.#rest.length) throw this.#refused('a ")" that nothing opened');
    return { root, names: this.#names, ignoresCase: this.#flags.includes("i") };
  }

  #refused(what: string): WorkbenchError {
    return refusedPattern(
      this.#pattern,
      `${what} cannot be read here; expected a pattern of Python's re without flags x and L, flags of a part, conditionals, atomic groups and possessive quantifiers`,
    );
  }

  /** Takes the text if it comes next. */
  #takes(text: string): boolean {
    const isNext = Array.from(text).every((letter, i) => this.#rest[this.#at + i] === letter);
    if (isNext) this.#at += text.length;
    return isNext;
  }

  #upTo(end: string): string {
    const close = this.#rest.indexOf(end, this.#at);
    if (close === -1) throw this.#refused(`a group without its "${end}"`);
    const found = this.#rest.slice(this.#at, close).join("");
    this.#at = close + 1;
    return found;
  }

  #choice(): PatternNode {
    const options: PatternNode[] = [this.#sequence()];
    while (this.#takes("|")) options.push(this.#sequence());
    return options.length === 1 && options[0] ? options[0] : { kind: "choice", options };
  }

  #sequence(): PatternNode {
    const parts: PatternNode[] = [];
    for (let letter = this.#rest[this.#at]; letter !== undefined && letter !== "|" && letter !== ")"; letter = this.#rest[this.#at]) {
      const atom = this.#atom(letter);
      if (atom !== null) parts.push(this.#repeated(atom));
    }
    return { kind: "sequence", parts };
  }

  #repeated(body: PatternNode): PatternNode {
    const bounds = this.#bounds();
    if (bounds === null) return body;
    if (body.kind === "place") throw this.#refused("a repeated anchor");
    const [least, most] = bounds;
    if (least > most) throw this.#refused("a repeat whose least is more than its most");
    const isLazy = this.#takes("?");
    if (!isLazy && this.#takes("+")) throw this.#refused("a possessive repeat");
    if (this.#bounds() !== null) throw this.#refused("a repeat of a repeat");
    return { kind: "repeat", body, least, most, isLazy };
  }

  #bounds(): readonly [number, number] | null {
    if (this.#takes("*")) return [0, Infinity];
    if (this.#takes("+")) return [1, Infinity];
    if (this.#takes("?")) return [0, 1];
    const counted = /^\{(\d*)(,?)(\d*)\}/.exec(this.#rest.slice(this.#at, this.#at + 24).join(""));
    if (!counted || counted[0] === "{}") return null;
    const [whole, least = "", comma = "", most = ""] = counted;
    this.#at += whole.length;
    return [Number(least), comma === "" ? Number(least) : most === "" ? Infinity : Number(most)];
  }

  #atom(letter: string): PatternNode | null {
    this.#at++;
    const isManyLines = this.#flags.includes("m");
    switch (letter) {
      case "(":
        return this.#group();
      case "[":
        return this.#class();
      case "\\":
        return this.#escape();
      case ".":
        return { kind: "letter", isIn: this.#flags.includes("s") ? () => true : (found) => found !== "\n" };
      case "^":
        return { kind: "place", isAt: (letters, at) => at === 0 || (isManyLines && letters[at - 1] === "\n") };
      case "$":
        // Also before a last newline.
        return { kind: "place", isAt: (letters, at) => at === letters.length || (letters[at] === "\n" && (isManyLines || at === letters.length - 1)) };
      case "*":
      case "+":
      case "?":
        throw this.#refused("a repeat of nothing");
      default:
        return this.#letter(letter);
    }
  }

  #letter(expected: string): PatternNode {
    return { kind: "letter", isIn: this.#cased((letter) => letter === expected) };
  }

  #cased(isIn: (letter: string) => boolean): (letter: string) => boolean {
    return this.#flags.includes("i") ? (letter) => isIn(letter) || isIn(letter.toLowerCase()) || isIn(letter.toUpperCase()) : isIn;
  }

  #group(): PatternNode | null {
    if (this.#takes("?#")) {
      this.#upTo(")");
      return null;
    }
    if (this.#takes("?P=")) return this.#reference(this.#names.get(this.#upTo(")")));
    if (++this.#depth > deepestGroup) throw this.#refused(`groups nested more than ${deepestGroup} deep`);
    const body = this.#body();
    this.#depth--;
    return body;
  }

  #body(): PatternNode {
    const inner = (): PatternNode => {
      const body = this.#choice();
      if (!this.#takes(")")) throw this.#refused("a group that is not closed");
      return body;
    };
    if (this.#takes("?:")) return inner();
    for (const [opening, isNegative] of [
      ["?=", false],
      ["?!", true],
    ] as const) {
      if (this.#takes(opening)) return { kind: "look", body: inner(), isNegative, back: 0 };
    }
    for (const [opening, isNegative] of [
      ["?<=", false],
      ["?<!", true],
    ] as const) {
      if (!this.#takes(opening)) continue;
      const body = inner();
      const back = widthOf(body);
      if (back === null) throw this.#refused("a look-behind without one width");
      return { kind: "look", body, isNegative, back };
    }
    const index = ++this.#groups;
    if (this.#takes("?P<")) {
      const name = this.#upTo(">");
      if (!/^[\p{L}_][\p{L}\p{N}_]*$/u.test(name) || this.#names.has(name)) throw this.#refused(`the group name ${quoted(name)}`);
      this.#names.set(name, index);
    } else if (this.#rest[this.#at] === "?") throw this.#refused(`the group (${this.#rest.slice(this.#at, this.#at + 3).join("")}…`);
    const body = inner();
    this.#closed.add(index);
    return { kind: "group", index, body };
  }

  #reference(index: number | undefined): PatternNode {
    if (index === undefined || !this.#closed.has(index)) throw this.#refused("a reference to no group before it");
    return { kind: "reference", index };
  }

  #escape(): PatternNode {
    const letter = this.#rest[this.#at];
    if (letter === undefined) throw this.#refused("a backslash at the end");
    if (/[1-9]/.test(letter)) {
      this.#at++;
      const second = this.#rest[this.#at] ?? "";
      if (/^\d$/.test(second)) this.#at++;
      return this.#reference(Number(letter + (/^\d$/.test(second) ? second : "")));
    }
    const place = own<(letters: readonly string[], at: number) => boolean>(
      { A: (_, at) => at === 0, Z: (letters, at) => at === letters.length, b: isBoundary, B: (letters, at) => !isBoundary(letters, at) },
      letter,
    );
    if (place !== undefined) {
      this.#at++;
      return { kind: "place", isAt: place };
    }
    const set = own(classes, letter);
    if (set === undefined) return this.#letter(this.#escaped());
    this.#at++;
    return { kind: "letter", isIn: set };
  }

  /** The one letter that an escape stands for. */
  #escaped(): string {
    const letter = this.#rest[this.#at++];
    if (letter === undefined) throw this.#refused("a backslash at the end");
    if (letter === "x" || letter === "u") {
      const length = letter === "x" ? 2 : 4;
      const code = this.#rest.slice(this.#at, this.#at + length).join("");
      if (!/^[0-9a-fA-F]+$/.test(code) || code.length !== length) throw this.#refused(`the escape \\${letter}${code}`);
      this.#at += length;
      return String.fromCodePoint(parseInt(code, 16));
    }
    const control = own(controls, letter);
    if (control === undefined && /[A-Za-z0-9]/.test(letter)) throw this.#refused(`the escape \\${letter}`);
    return control ?? letter;
  }

  #class(): PatternNode {
    const isNegative = this.#takes("^");
    const tests: ((letter: string) => boolean)[] = [];
    for (let isFirst = true; isFirst || !this.#takes("]"); isFirst = false) {
      const from = this.#member();
      if (this.#rest[this.#at] === "-" && this.#rest[this.#at + 1] !== "]" && this.#at + 1 < this.#rest.length) {
        this.#at++;
        const to = this.#member();
        if (typeof from !== "string" || typeof to !== "string" || code(from) > code(to)) throw this.#refused("a range that is none");
        tests.push((letter) => code(letter) >= code(from) && code(letter) <= code(to));
      } else tests.push(typeof from === "string" ? (letter) => letter === from : from);
    }
    const isIn = this.#cased((letter) => tests.some((test) => test(letter)));
    return { kind: "letter", isIn: isNegative ? (letter) => !isIn(letter) : isIn };
  }

  /** A letter of a class, or a class within it. A "]" that comes first is a letter. */
  #member(): string | ((letter: string) => boolean) {
    const letter = this.#rest[this.#at];
    if (letter === undefined) throw this.#refused('a "[" that is not closed');
    this.#at++;
    if (letter !== "\\") return letter;
    const escaped = this.#rest[this.#at] ?? "";
    const set = own(classes, escaped);
    if (set === undefined && escaped !== "b") return this.#escaped();
    this.#at++;
    return set ?? "\b";
  }
}

const code = (letter: string): number => letter.codePointAt(0) ?? -1;

/** Letters that a node always takes; null when that differs. */
function widthOf(node: PatternNode): number | null {
  switch (node.kind) {
    case "letter":
      return 1;
    case "place":
    case "look":
      return 0;
    case "group":
      return widthOf(node.body);
    case "reference":
      return null;
    case "repeat": {
      const width = widthOf(node.body);
      return width !== null && node.least === node.most ? width * node.least : null;
    }
    case "sequence":
      return node.parts.reduce<number | null>((sum, part) => {
        const width = widthOf(part);
        return sum === null || width === null ? null : sum + width;
      }, 0);
    case "choice": {
      const widths = new Set(node.options.map(widthOf));
      return widths.size === 1 ? ([...widths][0] ?? null) : null;
    }
  }
}
