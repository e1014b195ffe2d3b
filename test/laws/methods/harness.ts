/** A method on a tiny model: what the laws of methods and the tests of each method share. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { loadModel, type LoadedModel } from "../../../server/models/loadModel.ts";
import { baseSetting } from "../../../server/runs/worlds.ts";
import { openSubject, sharedEngine } from "../../../server/runs/subject.ts";
import { denseProduct } from "../../../server/linalg/factored.ts";
import { randomStream } from "../../../server/linalg/random.ts";
import { startAdaptation, trainedTensors, type Adaptation } from "../../../server/training/adaptation.ts";
import type { Batch } from "../../../server/data/example.ts";
import { siteGates } from "../../../server/training/liveWorlds.ts";
import { AdamW } from "../../../server/training/optimizer.ts";
import { parameterRules } from "../../../server/training/parameterRules.ts";
import { lossWeight } from "../../../server/training/lossRows.ts";
import { TrainingPrograms } from "../../../server/training/trainingPrograms.ts";
import { optimizerParams, siteParams, type OptimizerParams } from "../../../server/training/trainingParams.ts";
import type { FloatTensor } from "../../../server/tensors/hostTensor.ts";
import { referenceDir } from "../goldens.ts";
import { lawEngine } from "../../lawEngine.ts";

export interface HarnessOptions {
  readonly family?: string;
  readonly options?: object;
  readonly targetModules?: string[];
  readonly seed?: number;
  readonly tasks?: readonly string[];
  readonly labels?: readonly string[];
}

export interface Harness {
  readonly model: LoadedModel;
  readonly adaptation: Adaptation;
  readonly programs: TrainingPrograms;
}

let runs = 0;

/** @param family folder of fixtures/reference/families */
export async function harness(
  method: string,
  { family = "gpt2", options = {}, targetModules = ["c_attn", "c_fc"], seed = 1, tasks = ["all"], labels = [] }: HarnessOptions = {},
): Promise<Harness> {
  const model = loadModel(join(referenceDir, "families", family));
  const adaptation = startAdaptation(model, { method, options, sites: siteParams.parse({ targetModules }), labels, tasks, seed, runKey: `test${runs++}` });
  return { model, adaptation, programs: new TrainingPrograms(await sharedEngine({ engine: lawEngine }), adaptation) };
}

/** Random tokens; the last row is two tokens shorter than the others. */
export function randomBatch(model: LoadedModel, { rows = 3, positions = 8, seed = 5, tasks = 1, labels = 1 } = {}): Batch {
  const random = randomStream(seed, "batch");
  const tokens = Int32Array.from({ length: rows * positions }, () => random.below(model.config.dVocab));
  const targets = new Int32Array(rows * positions);
  const lossWeights = new Float32Array(rows * positions);
  const last = new Int32Array(rows);
  for (let row = 0; row < rows; row++) {
    last[row] = row === rows - 1 ? positions - 3 : positions - 1;
    for (let p = 0; p < last[row]!; p++) {
      targets[row * positions + p] = tokens[row * positions + p + 1]!;
      lossWeights[row * positions + p] = 1;
    }
  }
  return {
    rows,
    positions,
    tokens,
    targets,
    lossWeights,
    last,
    labels: Int32Array.from({ length: rows }, (_, row) => row % labels),
    tasks: Int32Array.from({ length: rows }, (_, row) => row % tasks),
  };
}

/** Moves every trained number by N(0, std²): a place that is not the start. */
export function perturb(adaptation: Adaptation, std: number, seed = 9): void {
  for (const { key, tensor } of trainedTensors(adaptation)) {
    const random = randomStream(seed, key);
    for (let i = 0; i < tensor.data.length; i++) tensor.data[i]! += std * random.gaussian();
  }
}

export async function lossOf({ programs, adaptation }: Harness, batch: Batch): Promise<{ loss: number; gradients: Readonly<Record<string, Float32Array>> }> {
  const scale = 1 / lossWeight(batch, adaptation.head !== null);
  const { loss, penalty, gradients } = await programs.lossAndGradients({
    batch,
    scale,
    penaltyScale: 1,
    dropout: 0,
    labelSmoothing: 0,
    random: randomStream(0),
  });
  return { loss: loss + penalty, gradients };
}

/** Steps of AdamW on one batch, `afterStep` included. @returns the losses before each step */
export async function train(h: Harness, batch: Batch, steps: number, params: Partial<OptimizerParams> = {}): Promise<number[]> {
  const { method, options, sites } = h.adaptation;
  const settings = optimizerParams.parse({ warmupSteps: 0, schedule: "constant", learningRate: 1e-2, ...params });
  const optimizer = new AdamW(settings, parameterRules(h.adaptation));
  const losses: number[] = [];
  for (let step = 1; step <= steps; step++) {
    const { loss, gradients } = await lossOf(h, batch);
    losses.push(loss);
    const before = Object.fromEntries(Object.entries(gradients).map(([key, values]) => [key, values.slice()]));
    optimizer.update(trainedTensors(h.adaptation), gradients, settings.learningRate);
    const change = method?.afterStep?.({
      options,
      step,
      totalSteps: steps,
      sites,
      gradient: (site, parameter) => before[`${site}/${parameter}`]!,
      random: (...labels) => randomStream(1, "step", step, ...labels),
    });
    for (const { key } of trainedTensors(h.adaptation)) {
      if (change?.resetsMoments || change?.reshaped.some((site) => key.startsWith(`${site}/`))) optimizer.forget(key);
    }
  }
  return losses;
}

/** A folder that is gone after the test. */
export function temporaryDir(): string {
  const dir = mkdtempSync(join(tmpdir(), "deltascope-test-"));
  onTestFinished(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
}

/** Logits of the last position of each row, from the adapter folder opened as the workbench opens it. */
export async function openedLogits(model: LoadedModel, folder: string, batch: Batch): Promise<{ logits: Float32Array; warnings: readonly string[] }> {
  const subject = await openSubject({ model: model.path, adapters: [{ path: folder, name: "a", strength: 1 }] }, { engine: lawEngine });
  const tokens = Array.from({ length: batch.rows }, (_, row) => [...batch.tokens.subarray(row * batch.positions, (row + 1) * batch.positions)]);
  const { logits } = await subject.runner!.forward({ tokens, settings: [subject.setting], logits: { position: batch.positions - 1 } });
  return { logits: logits!.data, warnings: subject.adapters[0]!.warnings };
}

/** The places where `openedLogits` reads. */
export const lastPlaces = (batch: Batch): Int32Array => new Int32Array(batch.rows).fill(batch.positions - 1);

/** Logits at the places of each row with the adapter off. */
export function baseLogits(programs: TrainingPrograms, batch: Batch, places = lastPlaces(batch)): Promise<FloatTensor> {
  const settings = Array.from({ length: batch.rows }, () => baseSetting);
  return programs.logitsAt(batch, places, { gates: siteGates(programs.adaptation, "a", settings) });
}

/** The same programs over a base whose weights have ΔW added. */
export function adaptedModel({ model, adaptation, programs }: Harness): TrainingPrograms {
  const { method, options } = adaptation;
  const byWeight = new Map<string, Float32Array>();
  for (const state of adaptation.sites) {
    const { dIn, dOut, stored, baseWeight } = state.site;
    const delta = method!.denseDelta?.(state, options) ?? denseProduct(method!.deltaWeight(state, options));
    const merged = baseWeight.data().slice();
    for (let o = 0; o < dOut; o++) for (let i = 0; i < dIn; i++) merged[stored === "outIn" ? o * dIn + i : i * dOut + o]! += delta[o * dIn + i]!;
    byWeight.set(baseWeight.key, merged);
  }
  const merged: LoadedModel = {
    ...model,
    weights: (segment) =>
      Object.fromEntries(
        Object.entries(model.weights(segment)).map(([name, weight]) => {
          const values = byWeight.get(weight.key);
          return [name, values ? { key: `${weight.key}:merged${runs++}`, shape: weight.shape, data: () => values } : weight];
        }),
      ),
  };
  return new TrainingPrograms(programs.engine, { ...adaptation, model: merged });
}
