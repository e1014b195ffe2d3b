/** Patterns of Python's re, read as CPython's re/_parser.py (3.11) reads them. */
import { escaped, octalLetter } from "./escapes.ts";
import { letterRange, sameLetter, type RegexFlags } from "./letters.ts";
import { letterSet } from "./letterSet.ts";
import { PatternSource, type PatternFault } from "./patternSource.ts";
import { lineEnd, lineStart, textEnd, textStart, wordEdge } from "./places.ts";
import { widthOf, type RegexTree, type Width } from "./tree.ts";

export interface ParsedPattern {
  readonly tree: RegexTree;
  /** With group 0, the whole. */
  readonly groupCount: number;
  readonly named: ReadonlyMap<string, number>;
}

/** Groups inside groups; CPython's own stack ends at some hundred. */
const deepestGroups = 100;
/** CPython's MAXREPEAT; as many are as good as no limit. */
const mostRepeats = 2 ** 32 - 1;
const identifier = /^[\p{XID_Start}_]\p{XID_Continue}*$/u;
const flagFields = { i: "ignoresCase", m: "isMultiline", s: "dotIsAll", x: "isVerbose", a: "isAscii" } as const;
const nothing: RegexTree = { kind: "sequence", parts: [] };

/** @throws PatternFault for what is no pattern, names of letters (\N{…}) and flags for bytes (?L) */
export function parsePattern(pattern: string): ParsedPattern {
  return new Parser(pattern).whole();
}

class Parser {
  readonly #source: PatternSource;
  readonly #named = new Map<string, number>();
  /** By group; a group that is still open has null. */
  readonly #widths: (Width | null)[] = [null];
  /** The groups before the outermost lookbehind that is being read; those in it cannot be referred to from it. */
  #groupsBeforeLookbehind: number | null = null;
  #globalFlags: RegexFlags = { ignoresCase: false, isMultiline: false, dotIsAll: false, isVerbose: false, isAscii: false };
  #highestCondition = 0;
  #depth = 0;

  constructor(pattern: string) {
    this.#source = new PatternSource(pattern);
  }

  whole(): ParsedPattern {
    const tree = this.#choice(null);
    if (this.#source.next !== "") throw this.#fault('a ")" without a "("');
    if (this.#highestCondition >= this.#widths.length) throw this.#fault(`no group ${this.#highestCondition}`);
    return { tree, groupCount: this.#widths.length, named: this.#named };
  }

  /** @param inherited null at the top, where flags of the whole may stand first */
  #choice(inherited: RegexFlags | null): RegexTree {
    if (++this.#depth > deepestGroups) throw this.#fault(`groups nested more than ${deepestGroups} deep`);
    const ways = [this.#sequence(inherited)];
    while (this.#source.takes("|")) ways.push(this.#sequence(inherited ?? this.#globalFlags));
    this.#depth--;
    return ways.length === 1 ? (ways[0] ?? nothing) : { kind: "choice", ways };
  }

  #sequence(inherited: RegexFlags | null): RegexTree {
    const source = this.#source;
    const parts: RegexTree[] = [];
    while (source.next !== "" && source.next !== "|" && source.next !== ")") {
      const flags = inherited ?? this.#globalFlags;
      const letter = source.take();
      if (flags.isVerbose && /^[ \t\n\r\v\f]$/.test(letter)) continue;
      if (flags.isVerbose && letter === "#") {
        while (!["", "\n"].includes(source.take()));
        continue;
      }
      if (letter === "(") {
        const group = this.#group(flags, inherited === null && parts.length === 0);
        if (group) parts.push(group);
        continue;
      }
      const repeat = this.#repeat(letter);
      if (repeat) parts.push(this.#repeated(parts.pop(), repeat));
      else parts.push(this.#atom(letter, flags));
    }
    return { kind: "sequence", parts };
  }

  #atom(letter: string, flags: RegexFlags): RegexTree {
    if (letter === "^") return { kind: "place", test: lineStart(flags) };
    if (letter === "$") return { kind: "place", test: lineEnd(flags) };
    if (letter === ".") return { kind: "letter", test: flags.dotIsAll ? () => true : (code) => code !== 10 };
    if (letter === "[") return { kind: "letter", test: letterSet(this.#source, flags) };
    if (letter.startsWith("\\")) return this.#escape(letter.slice(1), flags);
    const code = letter.codePointAt(0) ?? 0;
    return { kind: "letter", test: letterRange(code, code, flags) };
  }

  #escape(name: string, flags: RegexFlags): RegexTree {
    const source = this.#source;
    if (name === "A") return { kind: "place", test: textStart };
    // \z is Python 3.14's name for it.
    if (name === "Z" || name === "z") return { kind: "place", test: textEnd };
    if (name === "b" || name === "B") return { kind: "place", test: wordEdge(flags, name === "b") };
    if (!/^[1-9]$/.test(name)) {
      const meant = escaped(source, name, flags.isAscii);
      return { kind: "letter", test: "test" in meant ? meant.test : letterRange(meant.letter, meant.letter, flags) };
    }
    let digits = name + source.run(/^[0-9]$/, 1);
    if (/^[0-7]{2}$/.test(digits) && /^[0-7]$/.test(source.next)) {
      digits += source.take();
      const meant = octalLetter(source, digits);
      return { kind: "letter", test: "test" in meant ? meant.test : letterRange(meant.letter, meant.letter, flags) };
    }
    return this.#reference(Number(digits), flags);
  }

  #reference(group: number, flags: RegexFlags): RegexTree {
    const width = this.#widths[group];
    if (width === undefined || group === 0) throw this.#fault(`no group ${group} before it`);
    if (width === null) throw this.#fault(`the text of group ${group} inside that group`);
    this.#refuseOwnLookbehind(group);
    return { kind: "same", group, width, isSame: sameLetter(flags) };
  }

  #refuseOwnLookbehind(group: number): void {
    if (this.#groupsBeforeLookbehind !== null && group >= this.#groupsBeforeLookbehind)
      throw this.#fault(`group ${group} referred to in the lookbehind that defines it`);
  }

  /** [least, most] of `*`, `+`, `?`, `{2,3}`; undefined for another letter, also for a brace that begins no count. */
  #repeat(letter: string): readonly [number, number] | undefined {
    if (letter === "*") return [0, mostRepeats];
    if (letter === "+") return [1, mostRepeats];
    if (letter === "?") return [0, 1];
    const source = this.#source;
    if (letter !== "{" || source.next === "}") return undefined;
    const begin = source.at;
    const least = source.run(/^[0-9]$/);
    const most = source.takes(",") ? source.run(/^[0-9]$/) : least;
    if (!source.takes("}")) {
      source.at = begin;
      return undefined;
    }
    if (Number(least) >= mostRepeats || Number(most) >= mostRepeats) throw this.#fault("a count that is too large");
    const range = [Number(least), most === "" ? mostRepeats : Number(most)] as const;
    if (range[0] > range[1]) throw this.#fault("a least count above the most");
    return range;
  }

  #repeated(body: RegexTree | undefined, [min, max]: readonly [number, number]): RegexTree {
    if (body === undefined || body.kind === "place") throw this.#fault("nothing to repeat");
    // A possessive repeat alone is atomic with nothing around its repeat.
    if (body.kind === "repeat" || (body.kind === "atomic" && body.body.kind === "repeat")) throw this.#fault("a repeat of a repeat");
    const isLazy = this.#source.takes("?");
    const repeat: RegexTree = { kind: "repeat", body, min, max: max === mostRepeats ? Infinity : max, isLazy };
    return !isLazy && this.#source.takes("+") ? { kind: "atomic", body: repeat } : repeat;
  }

  /** After "("; null for comments and flags of the whole. */
  #group(flags: RegexFlags, mayBeFlags: boolean): RegexTree | null {
    const source = this.#source;
    if (!source.takes("?")) return this.#capture(null, flags);
    const letter = source.take();
    switch (letter) {
      case "P":
        if (source.takes("<")) return this.#capture(this.#name(">"), flags);
        if (source.takes("=")) return this.#reference(this.#groupNamed(this.#name(")")), flags);
        throw this.#fault(`the group (?P${source.next}`);
      case ":":
        // A group of its own, so that what it holds counts as one.
        return { kind: "sequence", parts: [this.#inside(flags)] };
      case ">":
        return { kind: "atomic", body: this.#inside(flags) };
      case "#":
        for (let next = source.take(); next !== ")"; next = source.take()) if (next === "") throw this.#fault('no ")" after a comment');
        return null;
      case "=":
      case "!":
        return { kind: "look", body: this.#inside(flags), behind: 0, isNegative: letter === "!" };
      case "<":
        return this.#lookbehind(flags);
      case "(":
        return this.#condition(flags);
      default:
        return this.#flagged(letter, flags, mayBeFlags);
    }
  }

  /** What stands before the closing ")", which is taken too. */
  #inside(flags: RegexFlags): RegexTree {
    const body = this.#choice(flags);
    this.#close();
    return body;
  }

  #close(): void {
    if (!this.#source.takes(")")) throw this.#fault('no ")" after a "("');
  }

  #capture(name: string | null, flags: RegexFlags): RegexTree {
    const group = this.#widths.push(null) - 1;
    if (name !== null) {
      if (this.#named.has(name)) throw this.#fault(`a second group "${name}"`);
      this.#named.set(name, group);
    }
    const body = this.#inside(flags);
    this.#widths[group] = widthOf(body);
    return { kind: "group", group, body };
  }

  #name(end: string): string {
    const name = this.#source.until(end, "group name");
    if (!identifier.test(name)) throw this.#fault(`the group name "${name}"`);
    return name;
  }

  #groupNamed(name: string): number {
    const group = this.#named.get(name);
    if (group === undefined) throw this.#fault(`no group "${name}" before it`);
    return group;
  }

  #lookbehind(flags: RegexFlags): RegexTree {
    const sign = this.#source.take();
    if (sign !== "=" && sign !== "!") throw this.#fault(`the group (?<${sign}`);
    const before = this.#groupsBeforeLookbehind;
    this.#groupsBeforeLookbehind ??= this.#widths.length;
    const body = this.#choice(flags);
    this.#groupsBeforeLookbehind = before;
    this.#close();
    const [behind, most] = widthOf(body);
    if (behind !== most) throw this.#fault("a lookbehind whose length is not fixed");
    return { kind: "look", body, behind, isNegative: sign === "!" };
  }

  /** (?(1)yes|no) */
  #condition(flags: RegexFlags): RegexTree {
    const name = this.#source.until(")", "group name");
    const group = identifier.test(name) ? this.#groupNamed(name) : /^\d+$/.test(name) ? Number(name) : 0;
    if (group === 0) throw this.#fault(`the group name "${name}"`);
    this.#highestCondition = Math.max(this.#highestCondition, group);
    if (this.#groupsBeforeLookbehind !== null && !this.#widths[group]) throw this.#fault(`group ${group}, not yet closed, in a lookbehind`);
    this.#refuseOwnLookbehind(group);
    if (++this.#depth > deepestGroups) throw this.#fault(`groups nested more than ${deepestGroups} deep`);
    const yes = this.#sequence(flags);
    const no = this.#source.takes("|") ? this.#sequence(flags) : nothing;
    this.#depth--;
    this.#close();
    return { kind: "if", group, yes, no };
  }

  /** (?i) for the whole, (?i:…) and (?-i:…) for a part. */
  #flagged(first: string, flags: RegexFlags, mayBeFlags: boolean): RegexTree | null {
    const source = this.#source;
    const on = first === "-" ? "" : first + source.run(/^[aimsxu]$/);
    const isMinus = first === "-" || source.takes("-");
    const off = isMinus ? source.run(/^[imsx]$/) : "";
    const end = source.take();
    const isWrong = !/^[aimsxu]*$/.test(on) || (isMinus && off === "") || [...on].some((flag) => off.includes(flag)) || /a.*u|u.*a/.test(on);
    if (isWrong || (end !== ":" && (end !== ")" || isMinus))) throw this.#fault(`the group (?${on}${isMinus ? "-" : ""}${off}${end}`);
    const changed = { ...flags, ...(on.includes("u") ? { isAscii: false } : {}), ...fieldsOf(on, true), ...fieldsOf(off, false) };
    if (end === ":") return { kind: "sequence", parts: [this.#inside(changed)] };
    if (!mayBeFlags) throw this.#fault(`flags of the whole, (?${on}), that do not stand first`);
    if (on.includes("u") && flags.isAscii) throw this.#fault("both of the flags a and u");
    this.#globalFlags = changed;
    return null;
  }

  #fault(what: string): PatternFault {
    return this.#source.fault(what);
  }
}

function fieldsOf(letters: string, value: boolean): Partial<RegexFlags> {
  return Object.fromEntries(Object.entries(flagFields).flatMap(([letter, field]) => (letters.includes(letter) ? [[field, value]] : [])));
}
