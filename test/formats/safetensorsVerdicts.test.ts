/** Which files open, and what is in them, as Python's safetensors has it; fixtures/safetensorsVerdicts/make.py made the files and asked it. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { gunzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { WorkbenchError } from "../../server/errors.ts";
import { readHeader } from "../../server/formats/safetensors.ts";
import { temporaryFolder } from "./temporaryFolder.ts";

interface Verdict {
  /** How the file was broken. */
  readonly kind: string;
  /** In base64. */
  readonly file: string;
  /** Null where the file is refused. */
  readonly opens: {
    readonly metadata: Readonly<Record<string, string>>;
    readonly tensors: Readonly<Record<string, readonly [string, readonly number[]]>>;
  } | null;
}

/** What the reference opens and we refuse on purpose, known by the words of our error. */
const refusedOnPurpose = [
  { words: "twice in one object", reason: "the reference keeps the last of the two and drops the other unseen; whoever wrote the file meant both" },
  { words: "is a list; expected an object with dtype", reason: "a tensor as a list of three is an accident of the reference's parser; the format says object" },
  { words: "dtype is object; expected a dtype name", reason: 'as is a dtype written {"F32": null}; the format says string' },
  { words: "from 0 to 2^53 - 1", reason: "a dimension from 2^53 up, possible only beside a 0, would be shown as another number" },
] as const;

const verdicts = gunzipSync(readFileSync(new URL("../../fixtures/safetensorsVerdicts/verdicts.jsonl.gz", import.meta.url)))
  .toString()
  .trimEnd()
  .split("\n")
  .map((line) => JSON.parse(line) as Verdict);

function read(file: string): { opens: Verdict["opens"]; error: string } {
  try {
    const { entries, metadata } = readHeader(file);
    return { opens: { metadata, tensors: Object.fromEntries([...entries.values()].map(({ name, dtype, shape }) => [name, [dtype, shape]])) }, error: "" };
  } catch (error) {
    if (!(error instanceof WorkbenchError)) throw error;
    return { opens: null, error: error.message };
  }
}

test("every file opens, with the same contents, or is refused as by Python's safetensors", () => {
  expect(verdicts.length).toBeGreaterThan(1500);
  const file = join(temporaryFolder(), "x.safetensors");
  const unexplained: unknown[] = [];
  const explained = new Set<string>();
  for (const { kind, file: base64, opens } of verdicts) {
    const bytes = Buffer.from(base64, "base64");
    writeFileSync(file, bytes);
    const found = read(file);
    if (isDeepStrictEqual(found.opens, opens)) continue;
    const known = opens !== null && found.opens === null ? refusedOnPurpose.find(({ words }) => found.error.includes(words)) : undefined;
    if (known) explained.add(known.words);
    else unexplained.push({ kind, header: bytes.toString("latin1", 8), opens, found });
  }
  expect(unexplained).toEqual([]);
  expect([...explained].toSorted(), "differences that are listed and do occur").toEqual(refusedOnPurpose.map(({ words }) => words).toSorted());
});
