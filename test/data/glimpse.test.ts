/** A look at a large dataset reads its beginning and nothing more; of a small one it is the dataset itself. */
import type * as Fs from "node:fs";
import { truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, test, vi } from "vitest";
import { dataParams } from "../../server/data/dataParams.ts";
import { loadDataset } from "../../server/data/dataset.ts";
import { glimpseDataset } from "../../server/data/glimpse.ts";
import { openTokenizer } from "../../server/formats/tokenizer.ts";
import { loadModel } from "../../server/models/loadModel.ts";
import { trainingParams } from "../../server/training/trainingParams.ts";
import { trainingPreview } from "../../server/training/trainingPreview.ts";
import { temporaryFolder } from "../formats/temporaryFolder.ts";

const counted = vi.hoisted(() => ({ bytes: 0 }));
vi.mock("node:fs", async (original) => {
  const fs = await original<typeof Fs>();
  const readSync = (...args: [number, NodeJS.ArrayBufferView, number, number, number | null]): number => {
    const got = fs.readSync(...args);
    counted.bytes += got;
    return got;
  };
  return { ...fs, readSync };
});
beforeEach(() => void (counted.bytes = 0));

const demo = openTokenizer("fixtures/demo/base");
const limits = { nCtx: 64, seed: 3 };
/** Of the reader. */
const chunkBytes = 2 ** 20;
const gigabyte = 2 ** 30;

/** 2 MiB of lines, and zeros without a line end after them, which no reader of data would take: a hole, so that the disk stays empty. */
function large(name: string, line: (index: number) => string, head = ""): string {
  const file = join(temporaryFolder(), name);
  let text = head;
  for (let index = 0; text.length < 2 * chunkBytes; index++) text += `${line(index)}\n`;
  writeFileSync(file, text);
  truncateSync(file, gigabyte);
  return file;
}
const glimpse = (path: string, given: object = {}) => glimpseDataset(dataParams.parse({ path, ...given }), demo, limits);
const sentence = (index: number) => `The capital of Arvenia is Krest ${index}.`;

describe("of a file of a gigabyte", () => {
  test("one chunk of JSON Lines is read, and an eighth of a megabyte or more is counted", () => {
    const { dataset, isWhole } = glimpse(large("x.jsonl", (i) => JSON.stringify({ text: sentence(i) })));
    expect(isWhole).toBe(false);
    expect(counted.bytes).toBe(chunkBytes);
    expect(dataset.train.length + dataset.validation.length).toBeGreaterThan(2 ** 17 / 60);
    expect(dataset.validation.length).toBeGreaterThan(0);
  });

  test("one chunk of plain text is read for its form, and one for its texts", () => {
    expect(glimpse(large("x.txt", sentence)).isWhole).toBe(false);
    expect(counted.bytes).toBe(2 * chunkBytes);
  });

  test("one chunk of a table is read, and one label alone is not refused, as others may follow", () => {
    const path = large("x.csv", (i) => `${sentence(i)},yes`, "text,label\n");
    const { dataset } = glimpse(path, { task: "classification" });
    expect(counted.bytes).toBe(chunkBytes);
    expect(dataset.labels).toEqual(["yes"]);
  });

  test("a label that only held-out examples have is one of the labels, as training examples may have it later", () => {
    const path = large("x.csv", (i) => `${sentence(i)},yes`, "text,label\n");
    const validationPath = large("v.csv", (i) => `${sentence(i)},no`, "text,label\n");
    expect(glimpse(path, { task: "classification", validationPath }).dataset.labels).toEqual(["no", "yes"]);
    expect(counted.bytes).toBe(2 * chunkBytes);
  });

  test("examples of a megabyte each are read until there are three", () => {
    const { dataset } = glimpse(
      large("x.jsonl", () => JSON.stringify({ text: "Krest ".repeat(chunkBytes / 12) })),
      { validationFraction: 0 },
    );
    expect(dataset.train).toHaveLength(3);
    expect(dataset.cut).toBe(3);
    expect(counted.bytes).toBe(2 * chunkBytes);
  });

  test("a preview states counts that are not whole, and refuses nothing that the rest could mend", () => {
    const model = loadModel("fixtures/demo/base");
    const path = large("x.jsonl", (i) => JSON.stringify({ text: sentence(i) }));
    const params = trainingParams.parse({ data: { path, task: "text" }, batchSize: 64, accumulate: 4096, epochs: 1, optimizer: { warmupSteps: 50 } });
    const { data, steps, warnings } = trainingPreview(model, demo, params);
    expect(data.isWhole).toBe(false);
    expect(data.first).toHaveLength(3);
    expect(steps).toBe(1);
    expect(warnings.join()).not.toContain("warmupSteps");
  });
});

test("of a small file it is the dataset", () => {
  const path = join(temporaryFolder(), "x.jsonl");
  writeFileSync(path, Array.from({ length: 40 }, (_, i) => JSON.stringify({ text: sentence(i) })).join("\n"));
  const data = dataParams.parse({ path });
  expect(glimpse(path)).toEqual({ dataset: loadDataset(data, demo, limits), isWhole: true });
});
