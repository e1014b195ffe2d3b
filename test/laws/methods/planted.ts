/** Planted tasks: to agree with a model that differs from the base at one site alone, so that it is known where a method must adapt. */
import { randomStream } from "../../../server/linalg/random.ts";
import { trainedTensors } from "../../../server/training/adaptation.ts";
import type { Batch } from "../../../server/data/example.ts";
import { AdamW } from "../../../server/training/optimizer.ts";
import { parameterRules } from "../../../server/training/parameterRules.ts";
import { optimizerParams } from "../../../server/training/trainingParams.ts";
import { adaptedModel, baseLogits, harness, lossOf, randomBatch, type Harness } from "./harness.ts";

/** The tiny GPT-2 with a random update of the given rank at one site. */
export async function plantedModel(goal: string, rank: number): Promise<Harness> {
  const planted = await harness("lora", { options: { rank, alpha: rank }, seed: 8 });
  const b = planted.adaptation.sites.find(({ site }) => site.name === goal)!.trained["loraB"]!.data;
  const random = randomStream(8, "planted");
  for (let i = 0; i < b.length; i++) b[i] = random.gaussian() * Math.sqrt(32 / rank);
  return planted;
}

/** A batch whose targets are what the planted model finds likeliest at every place. */
export async function plantedBatch(planted: Harness, seed: number): Promise<Batch> {
  const batch = randomBatch(planted.model, { rows: 16, positions: 8, seed });
  const programs = adaptedModel(planted);
  const targets = new Int32Array(batch.targets.length);
  for (let place = 0; place < batch.positions; place++) {
    const { data, shape } = await baseLogits(programs, batch, new Int32Array(batch.rows).fill(place));
    for (let row = 0; row < batch.rows; row++) {
      const logits = data.subarray(row * shape[1]!, (row + 1) * shape[1]!);
      targets[row * batch.positions + place] = logits.indexOf(logits.reduce((most, value) => Math.max(most, value), -Infinity));
    }
  }
  return { ...batch, targets, lossWeights: new Float32Array(targets.length).fill(1), last: new Int32Array(batch.rows).fill(batch.positions - 1) };
}

/** Steps of training over the batches in turn; `each` is called after every one. */
export async function trainOver(
  h: Harness,
  batches: readonly Batch[],
  totalSteps: number,
  learningRate: number,
  each: () => void = () => undefined,
): Promise<void> {
  const { method, options, sites } = h.adaptation;
  const optimizer = new AdamW(optimizerParams.parse({ learningRate }), parameterRules(h.adaptation));
  for (let step = 1; step <= totalSteps; step++) {
    const { gradients } = await lossOf(h, batches[step % batches.length]!);
    optimizer.update(trainedTensors(h.adaptation), gradients, learningRate);
    const change = method!.afterStep?.({
      options,
      step,
      totalSteps,
      sites,
      gradient: (site, parameter) => gradients[`${site}/${parameter}`]!,
      random: (...labels) => randomStream(1, "step", step, ...labels),
    });
    if (change?.resetsMoments) for (const { key } of trainedTensors(h.adaptation)) optimizer.forget(key);
    each();
  }
}
