/** Every activation that config.json may name can be trained through: its gradients are the slopes of the loss. */
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { activationFunctions } from "../../server/models/activations.ts";
import { loadModel } from "../../server/models/loadModel.ts";
import { sharedEngine } from "../../server/runs/subject.ts";
import { randomStream } from "../../server/linalg/random.ts";
import { startAdaptation } from "../../server/training/adaptation.ts";
import { batchOf } from "../../server/data/batches.ts";
import { TrainingPrograms } from "../../server/training/trainingPrograms.ts";
import { temporaryFolder } from "../formats/temporaryFolder.ts";
import { referenceDir } from "../laws/goldens.ts";
import { lawEngine } from "../lawEngine.ts";

const engine = await sharedEngine({ engine: lawEngine });
const sites = { targetModules: ["c_fc"], excludeModules: [], layers: null };

it.each(Object.keys(activationFunctions))("%s", async (name) => {
  const folder = temporaryFolder();
  cpSync(join(referenceDir, "families", "gpt2"), folder, { recursive: true });
  const raw = JSON.parse(readFileSync(join(folder, "config.json"), "utf8")) as object;
  writeFileSync(join(folder, "config.json"), JSON.stringify({ ...raw, activation_function: name }));
  const adaptation = startAdaptation(loadModel(folder), { method: "lora", options: {}, sites, labels: [], tasks: [], seed: 0, runKey: name });
  const programs = new TrainingPrograms(engine, adaptation);
  const example = { tokens: Int32Array.from([3, 17, 8, 29, 5, 31, 44, 60]), lossWeights: new Float32Array(8).fill(1), label: null, task: 0 };
  const step = { batch: batchOf([example], 64), scale: 1 / 7, penaltyScale: 1, dropout: 0, labelSmoothing: 0, random: randomStream(0, "none") };
  const { gradients } = await programs.lossAndGradients(step);
  const steepest = Object.entries(gradients).filter(([key]) => key.endsWith("/loraB"));
  const norm = Math.sqrt(steepest.reduce((sum, [, gradient]) => sum + gradient.reduce((part, g) => part + g * g, 0), 0));
  expect(norm).toBeGreaterThan(1e-4);
  const lossAt = async (distance: number): Promise<number> => {
    for (const [key, gradient] of steepest) {
      const values = adaptation.sites.find(({ site }) => key === `${site.name}/loraB`)?.trained["loraB"]?.data;
      values?.set(gradient.map((g) => (distance * g) / norm));
    }
    return (await programs.lossAndGradients(step)).loss;
  };
  const reach = 0.02;
  const slope = ((await lossAt(reach)) - (await lossAt(-reach))) / (2 * reach);
  expect(Math.abs(slope / norm - 1)).toBeLessThan(0.05);
});
