/** Anchors and edges of words. */
import { letterKind, type RegexFlags } from "./letters.ts";

export type Place = (text: readonly number[], at: number) => boolean;

const newline = 10;

export const textStart: Place = (_, at) => at === 0;
export const textEnd: Place = (text, at) => at === text.length;

/** ^ */
export function lineStart({ isMultiline }: RegexFlags): Place {
  return isMultiline ? (text, at) => at === 0 || text[at - 1] === newline : textStart;
}

/** $, which without (?m) stands at the end and before a newline that ends the text. */
export function lineEnd({ isMultiline }: RegexFlags): Place {
  return (text, at) => at === text.length || (text[at] === newline && (isMultiline || at === text.length - 1));
}

/** \b, or \B: neither is true of an empty text. */
export function wordEdge({ isAscii }: RegexFlags, isEdge: boolean): Place {
  const test = letterKind("w", isAscii);
  const isWord = (letter: number | undefined): boolean => letter !== undefined && test?.(letter) === true;
  return (text, at) => text.length > 0 && (isWord(text[at - 1]) !== isWord(text[at])) === isEdge;
}
