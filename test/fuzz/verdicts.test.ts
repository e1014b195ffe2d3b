/** The same verdict as safetensors: what its Python package opens we open, what it refuses we refuse, but for the kinds named here. */
import { expect, test } from "vitest";
import verdicts from "../../fixtures/headers/verdicts.json" with { type: "json" };
import { WorkbenchError } from "../../server/errors.ts";
import { parseSafetensors } from "../../server/formats/safetensors.ts";
import { headerFile } from "./headerFiles.ts";

/** Four times the count of the other kinds: all 50,000 by `npm run fuzz`. */
const count = Math.min(verdicts.count, 4 * Number(process.env["FUZZ_COUNT"] ?? 500));

/** What safetensors opens and we refuse, by our words for it, and why. */
const stricter: readonly { readonly words: RegExp; readonly why: string }[] = [
  { words: /^header has .* twice in one object/, why: "one reader takes the first, another the last: two readers would see two files" },
  { words: /^header has the number .* not written as a whole one/, why: "only in fields that the format does not have, where safetensors looks at nothing" },
  { words: /^tensor ".*" is a list; expected an object/, why: "serde takes a struct as a list of its fields; the format says an object" },
  { words: /^tensor ".*" dtype is object; expected/, why: "serde takes an enum as {name: null}; the format says a name" },
  { words: /^tensor ".*" shape is \[.*\d{16,}.*\]; expected a list of whole numbers/, why: "a dimension past 2^53 beside a 0, which float64 cannot hold" },
];

test(`of ${count} files ours and the verdict of safetensors ${verdicts.safetensors} are one, or the difference has a name`, () => {
  const bits = Buffer.from(verdicts.bits, "base64");
  const differences: string[] = [];
  const used = new Set<RegExp>();
  for (let number = 0; number < count; number++) {
    const isOpened = (((bits[number >> 3] ?? 0) >> (number & 7)) & 1) === 1;
    const content = headerFile(number);
    let refusal: string | null = null;
    try {
      parseSafetensors(content, "file");
    } catch (error) {
      if (!(error instanceof WorkbenchError)) throw error;
      // A dtype that has no values here is told when values are asked for; the file is open then.
      if (error.code !== "safetensors.unsupportedDtype") refusal = error.message.replace(/^file: /, "");
    }
    if (isOpened === (refusal === null)) continue;
    const words = refusal === null ? undefined : stricter.find((kind) => kind.words.test(refusal))?.words;
    if (words !== undefined) {
      used.add(words);
      continue;
    }
    differences.push(
      `${number}: ${isOpened ? "opened" : "refused"} by safetensors, here ${refusal ?? "opened"}: ${content.toString("latin1", 8).slice(0, 400)}`,
    );
  }
  expect(differences).toEqual([]);
  // A kind that nothing shows would hide a fault to come; the rare ones show among all.
  if (count === verdicts.count) expect(stricter.filter(({ words }) => !used.has(words))).toEqual([]);
});
