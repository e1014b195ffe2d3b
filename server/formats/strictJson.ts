/** What JSON.parse lets pass and strict readers of the same bytes do not: repeated keys, deep nesting, half surrogates; and where a mistake is. */
import { printParseErrorCode, visit, type JSONPath } from "jsonc-parser";

/** As serde_json, which reads safetensors headers, and far above any config. */
export const deepestNesting = 127;

/** The first fault of a text, with its place; null when there is none. */
export interface JsonFault {
  /** "“a” twice in one object" */
  readonly what: string;
  /** Both from 1. */
  readonly line: number;
  readonly column: number;
}

/** How deep brackets nest, looked at without recursion; stops at the limit. */
export function isTooDeep(text: string, limit = deepestNesting): boolean {
  let depth = 0;
  let isInString = false;
  for (let i = 0; i < text.length; i++) {
    const letter = text.charCodeAt(i);
    if (isInString) {
      if (letter === 0x5c) i++;
      else if (letter === 0x22) isInString = false;
    } else if (letter === 0x22) isInString = true;
    else if (letter === 0x7b || letter === 0x5b) {
      if (++depth > limit) return true;
    } else if (letter === 0x7d || letter === 0x5d) depth--;
  }
  return false;
}

/**
 * Where the text is not JSON, or repeats a key.
 * @param text nested no deeper than `deepestNesting`
 * @param wholeAt where a number has to be a whole one, written without point or exponent, and 0 without a sign
 */
export function jsonFault(text: string, wholeAt: (path: JSONPath) => boolean = () => false): JsonFault | null {
  let fault: JsonFault | null = null;
  const found = (what: string, line: number, column: number): void => {
    fault ??= { what, line: line + 1, column: column + 1 };
  };
  const keys: Set<string>[] = [];
  visit(
    text,
    {
      onObjectBegin: () => void keys.push(new Set()),
      onObjectEnd: () => void keys.pop(),
      onObjectProperty(name, _offset, _length, line, column) {
        const seen = keys.at(-1);
        if (seen?.has(name)) found(`"${name}" twice in one object`, line, column);
        seen?.add(name);
        if (!name.isWellFormed()) found("half of a surrogate pair", line, column);
      },
      onLiteralValue(value: unknown, offset, length, line, column, path) {
        if (typeof value === "string" && !value.isWellFormed()) found("half of a surrogate pair", line, column);
        if (typeof value !== "number") return;
        const number = text.slice(offset, offset + Math.min(length, 24));
        if (!Number.isFinite(value)) found(`the number ${number}, which no float64 holds`, line, column);
        if (!/^(0|-?[1-9]\d*)$/.test(number) && wholeAt(path())) found(`the number ${number}, which is not written as a whole one`, line, column);
      },
      onError: (code, _offset, _length, line, column) => found(words(printParseErrorCode(code)), line, column),
    },
    { disallowComments: true, allowEmptyContent: false, allowTrailingComma: false },
  );
  return fault;
}

/** "CommaExpected" → "comma expected" */
function words(code: string): string {
  return code.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
}
