/** Adapters and words as a command or an address has them: one writer and one reader, for the server and the page. */

export interface NamedAdapter {
  readonly path: string;
  /** Null for the folder's own. */
  readonly name: string | null;
  readonly strength: number;
}

/** `NAME=FOLDER@STRENGTH`, name and strength optional. What would be read as a name or a strength but is the folder's own stands behind `=`, or before `@1`. */
const pattern = /^(?:(?<name>[\w-]*)=)?(?<path>.+?)(?:@(?<strength>\d+(?:\.\d*)?(?:e[+-]?\d+)?|\.\d+))?$/;

/** "/x/lora" → itself; "b" of "/x/lora" at 0.5 → "b=/x/lora@0.5"; "/x/lora@2" → "/x/lora@2@1". */
export function adapterText({ name, path, strength }: NamedAdapter): string {
  const front = name !== null ? `${name}=` : /^[\w-]*=/.test(path) ? "=" : "";
  const endsLikeStrength = pattern.exec(path)?.groups?.["strength"] !== undefined;
  return `${front}${path}${strength === 1 && !endsLikeStrength ? "" : `@${strength}`}`;
}

/** Null when there is no folder in it. */
export function adapterFromText(text: string): NamedAdapter | null {
  const { name, path, strength } = pattern.exec(text)?.groups ?? {};
  return path === undefined ? null : { path, name: name === undefined || name === "" ? null : name, strength: strength === undefined ? 1 : Number(strength) };
}

/** A word as a POSIX shell reads it back. */
export function shellQuoted(word: string): string {
  return /^[\w./:=@-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
