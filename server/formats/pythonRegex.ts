/** Python's `re` patterns as JavaScript ones, for the patterns that PEFT configs hold. What cannot be said exactly is refused. */
import { createContext, Script } from "node:vm";
import { WorkbenchError } from "../errors.ts";
import { quoted } from "../quoted.ts";

const textStart = "(?<![\\s\\S])";
const textEnd = "(?![\\s\\S])";

/**
 * Whether Python's `re.fullmatch(pattern, text)` matches.
 *
 * @throws "adapter.unsupported" for a pattern that JavaScript cannot express or that is no pattern
 */
export function pythonFullmatch(pattern: string, text: string): boolean {
  return matched(pattern, true, text) !== null;
}

/**
 * Python's `re.match(pattern, text)`: anchored at the start only.
 *
 * @throws as `pythonFullmatch`
 */
export function pythonMatch(pattern: string, text: string): RegExpExecArray | null {
  return matched(pattern, false, text);
}

/** Module paths are matched in microseconds, also where a machine is busy; a pattern that takes this long backtracks without end. */
const limitMs = 2000;
const bounded: { regex: RegExp; text: string } = { regex: /^/, text: "" };
const realm = createContext(bounded);
const execution = new Script("regex.exec(text)");

/** Matching that is broken off: a stranger's pattern can take longer than the age of the universe. */
function matched(pattern: string, isFull: boolean, text: string): RegExpExecArray | null {
  bounded.regex = compiled(pattern, isFull);
  bounded.text = text;
  try {
    return execution.runInContext(realm, { timeout: limitMs }) as RegExpExecArray | null;
  } catch (cause) {
    throw refused(pattern, `matching "${text.slice(0, 120)}" takes more than ${limitMs} ms, as when repeats are nested: it`, cause);
  }
}

const cache = new Map<string, RegExp>();
const cacheLimit = 1000;

function compiled(pattern: string, isFull: boolean): RegExp {
  const key = `${isFull ? "full" : "match"}:${pattern}`;
  let regex = cache.get(key);
  if (regex === undefined) {
    const { source, flags } = translated(pattern);
    try {
      regex = new RegExp(`${textStart}(?:${source})${isFull ? textEnd : ""}`, flags);
    } catch (cause) {
      throw refused(pattern, cause instanceof Error ? cause.message : "it does not compile", cause);
    }
    if (cache.size >= cacheLimit) cache.clear();
    cache.set(key, regex);
  }
  return regex;
}

/** Exported for its test. */
export function translated(pattern: string): { source: string; flags: string } {
  let flags = "";
  let rest = pattern;
  const global = /^\(\?([aiLmsux]+)\)/.exec(pattern);
  if (global) {
    // a and u choose ASCII or Unicode classes; module paths are ASCII, so both read the same.
    const letters = global[1]!;
    if (/[xL]/.test(letters)) throw refused(pattern, `the flags (?${letters})`);
    flags = [..."ims"].filter((flag) => letters.includes(flag)).join("");
    rest = pattern.slice(global[0].length);
  }
  let source = "";
  let isInClass = false;
  for (let i = 0; i < rest.length;) {
    const char = rest[i]!;
    if (char === "\\") {
      const next = rest[i + 1];
      if (next === undefined) throw refused(pattern, "a backslash at the end");
      source += translatedEscape(pattern, next, isInClass);
      i += 2;
    } else if (isInClass) {
      isInClass = char !== "]";
      source += char;
      i += 1;
    } else if (char === "[") {
      // In Python a "]" that comes first is an ordinary character; in JavaScript it closes an empty class.
      const opening = /^\[\^?\]?/.exec(rest.slice(i))![0];
      source += opening.replace("]", "\\]");
      isInClass = true;
      i += opening.length;
    } else if (rest.startsWith("(?", i)) {
      const { js, length } = translatedGroup(pattern, rest.slice(i));
      source += js;
      i += length;
    } else if (char === "$" && !flags.includes("m")) {
      source += "(?=\\n?(?![\\s\\S]))"; // Python's $ also stands before a last newline
      i += 1;
    } else if (char === ".") {
      source += flags.includes("s") ? "[\\s\\S]" : "[^\\n]";
      i += 1;
    } else if (/^\{,\d*\}/.test(rest.slice(i))) {
      source += "{0,";
      i += 2;
    } else {
      source += char;
      i += 1;
    }
  }
  return { source, flags };
}

function translatedGroup(pattern: string, at: string): { js: string; length: number } {
  const named = /^\(\?P<([A-Za-z_]\w*)>/.exec(at);
  if (named) return { js: `(?<${named[1]}>`, length: named[0].length };
  const comment = /^\(\?#[^)]*\)/.exec(at);
  if (comment) return { js: "(?:)", length: comment[0].length };
  const same = /^\(\?(:|=|!|<=|<!)/.exec(at);
  if (same) return { js: same[0], length: same[0].length };
  throw refused(pattern, `the group ${at.slice(0, 4)}…`);
}

function translatedEscape(pattern: string, next: string, isInClass: boolean): string {
  if (next === "A" && !isInClass) return textStart;
  if ((next === "Z" || next === "z") && !isInClass) return textEnd;
  // A backreference to a group that did not take part fails in Python and matches nothing at all in JavaScript.
  if (/[1-9]/.test(next)) throw refused(pattern, `the backreference \\${next}`);
  if (next === "a") return "\\x07";
  if (next === "b" && isInClass) return "\\b";
  if (/[A-Za-z]/.test(next) && !/[bBdDsSwWnrtfvxu]/.test(next)) throw refused(pattern, `the escape \\${next}`);
  return `\\${next}`;
}

function refused(pattern: string, what: string, cause?: unknown): WorkbenchError {
  return new WorkbenchError(
    "adapter.unsupported",
    `regular expression ${quoted(pattern)}: ${what} cannot be used here; expected a pattern of Python's re without flags x ` +
      `and L, backreferences, conditionals, atomic groups and possessive quantifiers`,
    { cause },
  );
}
