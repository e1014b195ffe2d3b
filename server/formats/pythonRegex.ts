/** Python's re for the patterns that PEFT configs hold, under a bound of steps: a stranger's pattern can take longer than the age of the universe. */
import { WorkbenchError } from "../errors.ts";
import { namedShort, quoted } from "../quoted.ts";
import { Machine, StepsSpent } from "./regex/machine.ts";
import { parsePattern } from "./regex/parser.ts";
import { PatternFault } from "./regex/patternSource.ts";
import { textEnd } from "./regex/places.ts";
import { accept, compiled, type Step } from "./regex/program.ts";

export interface PythonMatch {
  /** The whole match. */
  readonly text: string;
  /** What groups 1, 2, … hold; null for one that took no part. */
  readonly groups: readonly (string | null)[];
  readonly named: ReadonlyMap<string, string | null>;
}

/** A module path takes some hundred steps, some ten thousand where the pattern has several wildcards; this many, milliseconds. */
const mostSteps = 1_000_000;
/** As for a list of all modules of the largest models, each by its whole path. */
const longestPattern = 100_000;

/**
 * Whether Python's `re.fullmatch(pattern, text)` matches.
 *
 * @throws "adapter.unsupported" for what is no pattern, (?L) and \N{…}, and for a match that takes more than a million steps
 * @see CPython 3.11, Lib/re/_parser.py and Modules/_sre/sre_lib.h
 */
export function pythonFullmatch(pattern: string, text: string): boolean {
  return matched(pattern, text, true) !== null;
}

/**
 * Python's `re.match(pattern, text)`: anchored at the start only.
 *
 * @throws as `pythonFullmatch`
 */
export function pythonMatch(pattern: string, text: string): PythonMatch | null {
  return matched(pattern, text, false);
}

function matched(pattern: string, text: string, isFull: boolean): PythonMatch | null {
  const { full, prefix, slots, groupCount, named } = program(pattern);
  const letters = [...text];
  const codes = letters.map((letter) => letter.codePointAt(0) ?? 0);
  const machine = new Machine(codes, slots, mostSteps);
  let end: number;
  try {
    end = machine.run(isFull ? full : prefix, 0);
  } catch (cause) {
    if (!(cause instanceof StepsSpent)) throw cause;
    throw new WorkbenchError(
      "adapter.unsupported",
      `regular expression ${quoted(pattern)}: no answer for "${namedShort(text)}" after ${mostSteps} steps, as when repeats are nested; ` +
        "expected a pattern that is soon decided: write repeats that can end in one place only, or list the modules by name",
    );
  }
  if (end < 0) return null;
  const slice = (from: number, to: number): string => letters.slice(from, to).join("");
  const group = (index: number): string | null => {
    const [from = -1, to = -1] = machine.slots.subarray(2 * index, 2 * index + 2);
    return from < 0 || to < 0 ? null : slice(from, to);
  };
  return {
    text: slice(0, end),
    groups: Array.from({ length: groupCount - 1 }, (_, i) => group(i + 1)),
    named: new Map(Array.from(named, ([name, index]) => [name, group(index)])),
  };
}

interface Program {
  readonly full: Step;
  readonly prefix: Step;
  readonly slots: number;
  /** With group 0, the whole. */
  readonly groupCount: number;
  readonly named: ReadonlyMap<string, number>;
}

const programs = new Map<string, Program>();
const mostPrograms = 1000;

function program(pattern: string): Program {
  const known = programs.get(pattern);
  if (known) return known;
  if (pattern.length > longestPattern)
    throw new WorkbenchError(
      "adapter.unsupported",
      `regular expression ${quoted(pattern)} has ${pattern.length} letters; expected at most ${longestPattern}: list the modules by name`,
    );
  const { tree, groupCount, named } = parsed(pattern);
  const { start: full, slots } = compiled(tree, groupCount, { op: "place", test: textEnd, next: accept });
  const made = { full, prefix: compiled(tree, groupCount, accept).start, slots, groupCount, named };
  if (programs.size >= mostPrograms) programs.clear();
  programs.set(pattern, made);
  return made;
}

function parsed(pattern: string): ReturnType<typeof parsePattern> {
  try {
    return parsePattern(pattern);
  } catch (cause) {
    if (!(cause instanceof PatternFault)) throw cause;
    throw new WorkbenchError("adapter.unsupported", `regular expression ${quoted(pattern)} has ${cause.message}; expected a pattern of Python's re`, { cause });
  }
}
