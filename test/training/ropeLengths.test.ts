/** Rope whose angles depend on the length of the prompt: training counts tokens, not the places that padding adds. */
import { join } from "node:path";
import { expect, it } from "vitest";
import { loadModel } from "../../server/models/loadModel.ts";
import { logProb } from "../../server/runs/metrics.ts";
import { Runner } from "../../server/runs/runner.ts";
import { sharedEngine } from "../../server/runs/subject.ts";
import { baseSetting } from "../../server/runs/worlds.ts";
import { randomStream } from "../../server/linalg/random.ts";
import { startAdaptation } from "../../server/training/adaptation.ts";
import { batchOf } from "../../server/data/batches.ts";
import { TrainingPrograms } from "../../server/training/trainingPrograms.ts";
import { referenceDir, relativeError } from "../laws/goldens.ts";
import { lawEngine } from "../lawEngine.ts";

const model = loadModel(join(referenceDir, "families", "llama-dynamic"));
const engine = await sharedEngine({ engine: lawEngine });
const runner = new Runner(model, [], engine);
const sites = { targetModules: "all-linear", excludeModules: [], layers: null };
const adaptation = startAdaptation(model, { method: "lora", options: {}, sites, labels: [], tasks: [], seed: 0, runKey: "ropeLengths" });
const programs = new TrainingPrograms(engine, adaptation);
/** Trained length 12; 13 tokens are padded to 16. */
const prompt = (length: number) => Int32Array.from({ length }, (_, i) => (7 * i + 3) % model.config.dVocab);
const example = (length: number) => ({ tokens: prompt(length), lossWeights: new Float32Array(length).fill(1), label: null, task: 0 });

/** −log p of each next token, as a prompt alone has it. */
async function losses(length: number): Promise<number[]> {
  const tokens = prompt(length);
  const { logits } = await runner.forward({ tokens: [[...tokens]], settings: [baseSetting], logits: "all" });
  const width = model.config.dVocab;
  return Array.from({ length: length - 1 }, (_, p) => -logProb(logits!.data.subarray(p * width, (p + 1) * width), tokens[p + 1]!));
}

it("held-out losses and the training loss of a padded example are those of the prompt alone", async () => {
  const expected = await losses(13);
  const batch = batchOf([example(13)], model.config.nCtx);
  expect(batch.positions).toBe(16);
  const { nll, weights } = await programs.scores(batch);
  expect(
    relativeError(
      nll.filter((_, i) => weights[i] !== 0),
      Float32Array.from(expected),
    ),
  ).toBeLessThan(1e-5);
  const step = { batch, scale: 1 / expected.length, penaltyScale: 1, dropout: 0, labelSmoothing: 0, random: randomStream(0, "none") };
  const mean = expected.reduce((sum, each) => sum + each, 0) / expected.length;
  expect(Math.abs((await programs.lossAndGradients(step)).loss - mean)).toBeLessThan(1e-5);
});

it("pinned prompts of several lengths in one batch predict what each predicts alone", async () => {
  const lengths = [9, 13, 20];
  const [rows, positions] = [lengths.length, 24];
  const tokens = new Int32Array(rows * positions);
  lengths.forEach((length, row) => tokens.set(prompt(length), row * positions));
  const places = Int32Array.from(lengths, (length) => length - 1);
  const { data } = await programs.logitsAt({ rows, positions, tokens, tasks: new Int32Array(rows) }, places);
  const width = model.config.dVocab;
  for (const [row, length] of lengths.entries()) {
    const { logits } = await runner.forward({ tokens: [[...prompt(length)]], settings: [baseSetting], logits: { position: length - 1 } });
    expect(relativeError(data.slice(row * width, (row + 1) * width), logits!.data), `${length} tokens`).toBeLessThan(1e-5);
  }
});
