/** What is written beside the numbers: a folder that other readers take as it is meant. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { loadModel } from "../../server/models/loadModel.ts";
import { startAdaptation } from "../../server/training/adaptation.ts";
import { saveAdaptation } from "../../server/training/saveAdaptation.ts";
import { siteParams } from "../../server/training/trainingParams.ts";
import { referenceDir } from "../laws/goldens.ts";
import { temporaryDir } from "../laws/methods/harness.ts";

const configOf = (folder: string) => JSON.parse(readFileSync(join(folder, "config.json"), "utf8")) as Record<string, unknown>;

it.each([
  ["llama-bf16", { dtype: "float32" }],
  ["llama-f16", { dtype: "float32" }],
  ["llama-old-config", { dtype: "float32", torch_dtype: "float32" }],
])("a base trained whole is saved with a config.json that says the type of its weights (%s)", (family, types) => {
  const model = loadModel(join(referenceDir, "families", family));
  const given = { method: "full", options: {}, sites: siteParams.parse({}), labels: [], tasks: ["all"], seed: 1, runKey: `save ${family}` };
  const adaptation = startAdaptation(model, given);
  // Too fine for half precision: a reader that rounds loses it.
  for (const { data } of adaptation.full!.values()) data[0] = 1 + 2 ** -20;
  const folder = join(temporaryDir(), "model");
  saveAdaptation(folder, adaptation);
  expect(configOf(folder)).toEqual({ ...configOf(model.path), ...types });
  const opened = startAdaptation(loadModel(folder), { ...given, runKey: `open ${family}` });
  for (const [key, { data }] of opened.full!) expect(data, key).toEqual(adaptation.full!.get(key)!.data);
});
