/** Kinds of letters and equality without case, as Python's re has them for text: Unicode's, or ASCII's under (?a). */
import type { LetterTest } from "./tree.ts";

export interface RegexFlags {
  readonly ignoresCase: boolean;
  readonly isMultiline: boolean;
  readonly dotIsAll: boolean;
  readonly isVerbose: boolean;
  readonly isAscii: boolean;
}

const kinds = {
  d: { unicode: /^\p{Nd}$/u, ascii: /^[0-9]$/ },
  /** str.isspace, which unlike JavaScript's \s has the separators U+001C to U+001F and U+0085, and not U+FEFF. */
  s: { unicode: /^[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]$/, ascii: /^[\t-\r ]$/ },
  w: { unicode: /^[\p{L}\p{N}_]$/u, ascii: /^[a-zA-Z0-9_]$/ },
} as const;

/** \d, \s or \w; a capital means all other letters. */
export function letterKind(name: string, isAscii: boolean): LetterTest | undefined {
  const lower = name.toLowerCase();
  if (lower !== "d" && lower !== "s" && lower !== "w") return undefined;
  const pattern = kinds[lower][isAscii ? "ascii" : "unicode"];
  const isMeant = name === lower;
  return (letter) => pattern.test(String.fromCodePoint(letter)) === isMeant;
}

/** Letters from `low` to `high`, both included. */
export function letterRange(low: number, high: number, { ignoresCase, isAscii }: RegexFlags): LetterTest {
  const isInside = (letter: number) => low <= letter && letter <= high;
  if (!ignoresCase) return isInside;
  if (isAscii) return (letter) => isInside(letter) || isInside(lowerAscii(letter)) || isInside(upperAscii(letter));
  if (low === high) {
    const one = folded(low);
    return (letter) => folded(letter) === one;
  }
  return (letter) => isInside(letter) || (lettersOfFold().get(folded(letter))?.some(isInside) ?? false);
}

/** How the letters of a backreference are compared. */
export function sameLetter({ ignoresCase, isAscii }: RegexFlags): (a: number, b: number) => boolean {
  if (!ignoresCase) return (a, b) => a === b;
  const lower = isAscii ? lowerAscii : lowerUnicode;
  return (a, b) => lower(a) === lower(b);
}

const lowerAscii = (letter: number): number => (letter >= 0x41 && letter <= 0x5a ? letter + 32 : letter);
const upperAscii = (letter: number): number => (letter >= 0x61 && letter <= 0x7a ? letter - 32 : letter);

/** One letter, also for İ, whose lower case has two. */
function lowerUnicode(letter: number): number {
  return String.fromCodePoint(letter).toLowerCase().codePointAt(0) ?? letter;
}

/** Equal for letters that differ in case alone: those whose lower-case letters have one upper case, as s and ſ. */
function folded(letter: number): string {
  return String.fromCodePoint(lowerUnicode(letter)).toUpperCase();
}

let foldTable: Map<string, number[]> | undefined;
/** The letters of each fold that has more than one; no script beyond U+1FFFF has case. */
function lettersOfFold(): ReadonlyMap<string, readonly number[]> {
  if (foldTable) return foldTable;
  foldTable = new Map();
  for (let letter = 0; letter < 0x20000; letter++) {
    if (!/\p{Changes_When_Casemapped}/u.test(String.fromCodePoint(letter))) continue;
    const fold = folded(letter);
    const others = foldTable.get(fold);
    if (others) others.push(letter);
    else foldTable.set(fold, [letter]);
  }
  return foldTable;
}
