/** A value from a stranger's file, as an error message may show it. */

const longest = 120;

/** JSON of the value, at most 120 characters, with nothing in it that a terminal obeys; a value nested too deep is named by its kind. */
export function quoted(value: unknown): string {
  return shortened(visible(jsonOf(typeof value === "string" ? value.slice(0, longest) : value)));
}

/** A name as it is, shortened in its middle, with control characters shown as escapes. */
export function namedShort(name: string): string {
  return shortened(visible(name.length > 4 * longest ? `${name.slice(0, longest)}…${name.slice(-longest)}` : name));
}

function shortened(text: string): string {
  return text.length <= longest ? text : `${text.slice(0, longest - 32)}…${text.slice(-24)}`;
}

const unseen = /[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069\ufeff]/g;

function visible(text: string): string {
  return text.replace(unseen, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function jsonOf(value: unknown): string {
  try {
    return value === undefined ? "undefined" : JSON.stringify(value);
  } catch {
    return Array.isArray(value) ? "a list nested too deep" : "an object nested too deep";
  }
}
