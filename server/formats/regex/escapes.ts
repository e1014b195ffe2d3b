/** Escapes that mean one letter or a kind of letters, inside and outside of brackets. */
import { letterKind } from "./letters.ts";
import type { PatternSource } from "./patternSource.ts";
import type { LetterTest } from "./tree.ts";

/** A letter by its code point, or a test for \d and its like. */
export type Escaped = { readonly letter: number } | { readonly test: LetterTest };

const controls = new Map([..."afnrtv"].map((name, i) => [name, [7, 12, 10, 13, 9, 11][i] ?? 0]));
const hexDigits = new Map([
  ["x", 2],
  ["u", 4],
  ["U", 8],
]);
const octal = /^[0-7]$/;

/**
 * @param name the letter after the backslash, both taken already; not a digit from 1 outside of brackets
 * @throws PatternFault for escapes that Python's re does not know, and names of letters
 */
export function escaped(source: PatternSource, name: string, isAscii: boolean): Escaped {
  const test = letterKind(name, isAscii);
  if (test) return { test };
  const control = controls.get(name);
  if (control !== undefined) return { letter: control };
  const hex = hexDigits.get(name);
  if (hex !== undefined) {
    const digits = source.run(/^[0-9a-fA-F]$/, hex);
    const letter = parseInt(digits, 16);
    if (digits.length !== hex || letter > 0x10ffff) throw source.fault(`the escape \\${name}${digits}`);
    return { letter };
  }
  if (octal.test(name)) return octalLetter(source, name + source.run(octal, 2));
  if (/^[0-9A-Za-z]$/.test(name)) throw source.fault(`the escape \\${name}`);
  return { letter: name.codePointAt(0) ?? 0 };
}

/** @throws PatternFault above \377 */
export function octalLetter(source: PatternSource, digits: string): Escaped {
  const letter = parseInt(digits, 8);
  if (letter > 0o377) throw source.fault(`the octal escape \\${digits}`);
  return { letter };
}
