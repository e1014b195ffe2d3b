/** What a training run would train, need and read: counted from the model, the method and the data, before anything is trained. */
import { trainingNamed } from "../adapters/registry.ts";
import type { TrainingMethod, TrainingSite } from "../adapters/method.ts";
import { WorkbenchError } from "../errors.ts";
import type { Tokenizer } from "../formats/tokenizer.ts";
import type { LoadedModel } from "../models/loadModel.ts";
import { sizeOf } from "../tensors/hostTensor.ts";
import { randomStream } from "../linalg/random.ts";
import { trainedCount, trainingSites, type Adaptation } from "./adaptation.ts";
import { BatchPlan, batchOf } from "../data/batches.ts";
import type { Dataset } from "../data/example.ts";
import { glimpseDataset } from "../data/glimpse.ts";
import { previewOf, type DatasetPreview } from "../data/preview.ts";
import { liveBatch } from "./liveWorlds.ts";
import { availableMemory, memoryEstimate, refuseOverBudget, totalBytes, type MemoryPart } from "./memoryEstimate.ts";
import { checkRates, parameterRules } from "./parameterRules.ts";
import { trainingPlan } from "./trainingPlan.ts";
import type { TrainingParams } from "./trainingParams.ts";

export interface TrainingPreview {
  readonly sites: readonly { readonly name: string; readonly parameters: number; readonly dIn: number; readonly dOut: number }[];
  /** Trained numbers, a classifier's head with them. */
  readonly parameters: number;
  readonly baseParameters: number;
  readonly memory: readonly MemoryPart[];
  /** These, the batches and the memory are at least so, where `data` is not whole. */
  readonly steps: number;
  readonly batchesPerEpoch: number;
  readonly data: DatasetPreview;
  readonly warnings: readonly string[];
}

/**
 * @throws what reading the data throws; "training.unknownMethod", "training.badOptions", "training.badParams", "adapter.matchedNothing"
 */
export function trainingPreview(model: LoadedModel, tokenizer: Tokenizer, params: TrainingParams): TrainingPreview {
  const sites = adaptedSites(model, params);
  const { dataset, isWhole } = glimpseDataset(params.data, tokenizer, { nCtx: model.config.nCtx, seed: params.seed, dVocab: model.config.dVocab });
  const counted = countedSites(params, sites, dataset.tasks.length);
  if (Object.keys(params.optimizer.rates).length > 0) checkParameters(params, sites, dataset);
  const batches = new BatchPlan(dataset.train, { batchSize: params.batchSize, seed: params.seed, shuffle: params.data.shuffle, nCtx: model.config.nCtx });
  const hasSteps = isWhole || params.steps !== null;
  const { totalSteps } = trainingPlan(hasSteps ? params : { ...params, accumulate: 1 }, batches.batchesPerEpoch);
  const steps = hasSteps ? totalSteps : Math.ceil(totalSteps / params.accumulate);
  const data = previewOf(dataset, tokenizer, isWhole);
  const parameters = trainedNumbers(model, params, dataset, counted);
  const memory = runMemory({ model, tokenizer, params, dataset }, parameters, frozenNumbers(params, sites, dataset.tasks));
  return {
    sites: counted,
    parameters,
    baseParameters: model.parameters,
    memory,
    steps,
    batchesPerEpoch: batches.batchesPerEpoch,
    data,
    warnings: warnings(params, data, memory, hasSteps ? steps : null),
  };
}

/** Refuses a run that memory does not hold. @throws "training.overBudget" */
export function checkMemory(adaptation: Adaptation, run: Omit<PlannedRun, "model">): void {
  const frozen = new Map(adaptation.sites.flatMap((state) => Object.values(state.frozen).map(({ key, shape }): [string, number] => [key, sizeOf(shape)])));
  refuseOverBudget(runMemory({ model: adaptation.model, ...run }, trainedCount(adaptation), total(frozen.values())));
}

interface PlannedRun {
  readonly model: LoadedModel;
  readonly tokenizer: Tokenizer;
  readonly params: TrainingParams;
  readonly dataset: Dataset;
}

function runMemory({ model, tokenizer, params, dataset }: PlannedRun, trained: number, frozen: number): MemoryPart[] {
  const { nCtx, dVocab } = model.config;
  const { prompts, patchSites, maxShare } = params.probes;
  const pinned = maxShare === 0 ? [] : prompts.map(({ prompt }) => tokenizer.encode(prompt));
  return memoryEstimate({
    model,
    trained,
    frozen,
    isFull: params.method === "full",
    classes: dataset.labels.length || dVocab,
    batch: largestBatch(dataset, params.batchSize, nCtx),
    look: pinned.length === 0 ? null : liveBatch(pinned, 1 + patchSites.length, nCtx),
  });
}

/** The rates, against the parameters that one site, the head or the base would have. */
function checkParameters(params: TrainingParams, sites: readonly TrainingSite[], { labels, tasks }: Dataset): void {
  const method = params.method === "full" ? null : trainingNamed(params.method);
  const options = method?.parseOptions(params.options);
  const trained = sites.slice(0, 1).flatMap((site) => (method ? Object.keys(startOf(method, options, site, sites, params.seed, tasks).trained) : []));
  checkRates(params.optimizer, parameterRules({ method, options }), [...(method ? trained : ["base"]), ...(labels.length > 0 ? ["score"] : [])]);
}

function adaptedSites(model: LoadedModel, params: TrainingParams): TrainingSite[] {
  return params.method === "full" ? [] : trainingSites(model, params.sites);
}

function countedSites(params: TrainingParams, sites: readonly TrainingSite[], tasks: number): TrainingPreview["sites"] {
  if (params.method === "full") return [];
  const method = trainingNamed(params.method);
  const options = method.parseOptions(params.options);
  return sites.map((site) => ({ name: site.name, parameters: method.parameterCount(site, options, tasks), dIn: site.dIn, dOut: site.dOut }));
}

function trainedNumbers(model: LoadedModel, params: TrainingParams, dataset: Dataset, sites: TrainingPreview["sites"]): number {
  const body = params.method === "full" ? model.parameters : total(sites.map(({ parameters }) => parameters));
  return body + dataset.labels.length * model.config.dModel;
}

/** The longest examples together: no batch of the run is larger. */
function largestBatch({ train, validation, labels }: Dataset, batchSize: number, nCtx: number): { rows: number; positions: number; predictions: number } {
  const longest = [...train, ...validation].toSorted((a, b) => b.tokens.length - a.tokens.length).slice(0, batchSize);
  const { rows, positions, lossWeights } = batchOf(longest, nCtx);
  return { rows, positions, predictions: labels.length > 0 ? rows : lossWeights.filter((weight) => weight !== 0).length };
}

/**
 * Numbers that the method would hold beside the base: two sites of each shape are started, and what they share is counted once.
 */
function frozenNumbers(params: TrainingParams, sites: readonly TrainingSite[], tasks: readonly string[]): number {
  if (params.method === "full") return 0;
  const method = trainingNamed(params.method);
  const options = method.parseOptions(params.options);
  const bySize = new Map<string, TrainingSite[]>();
  for (const site of sites) {
    const key = `${site.dIn}x${site.dOut}`;
    bySize.set(key, [...(bySize.get(key) ?? []), site]);
  }
  const shared = new Map<string, number>();
  let numbers = 0;
  for (const group of bySize.values()) {
    const started = group.slice(0, 2).map((site) => {
      const { frozen } = startOf(method, options, site, sites, params.seed, tasks);
      return new Map(Object.values(frozen).map(({ key, shape }) => [key, sizeOf(shape)]));
    });
    const [first, second] = started;
    for (const [key, size] of first!) {
      if (second?.has(key)) shared.set(key, size);
      else numbers += size * group.length;
    }
  }
  return numbers + total(shared.values());
}

/** A site as it would start. */
function startOf(method: TrainingMethod, options: unknown, site: TrainingSite, allSites: readonly TrainingSite[], seed: number, tasks: readonly string[]) {
  const random = (...labels: readonly (string | number)[]) => randomStream(seed, "start", ...labels);
  return method.start(site, { options, random, runKey: "preview", tasks, allSites });
}

function total(numbers: Iterable<number>): number {
  let sum = 0;
  for (const number of numbers) sum += number;
  return sum;
}

/** @param steps null when they are not known */
function warnings(params: TrainingParams, data: DatasetPreview, memory: readonly MemoryPart[], steps: number | null): string[] {
  const found: string[] = [];
  if (data.cut > 0)
    found.push(
      `${data.cut} of ${data.isWhole ? "" : "the first "}${data.examples + data.validation} examples are longer than ${params.data.maxLength} ` +
        `tokens and are cut (data.maxLength)`,
    );
  const ofMethod = params.method === "full" || steps === null ? null : methodWarning(params, steps);
  if (ofMethod) found.push(ofMethod);
  if (data.validation === 0 && (data.isWhole || params.data.validationFraction === 0))
    found.push("nothing is held out, so nothing tells learning from memorising (data.validationFraction)");
  if (steps !== null && params.optimizer.warmupSteps >= steps)
    found.push(`the rate rises over ${params.optimizer.warmupSteps} steps and the run has ${steps} (optimizer.warmupSteps)`);
  try {
    refuseOverBudget(memory);
  } catch (error) {
    if (!(error instanceof WorkbenchError)) throw error;
    found.push(error.message);
  }
  if (found.length === 0 && totalBytes(memory) > availableMemory() / 2) found.push("the run takes more than half of the memory that is free");
  return found;
}

function methodWarning({ method: name, options }: TrainingParams, steps: number): string | null {
  const method = trainingNamed(name);
  return method.warning?.(method.parseOptions(options), steps) ?? null;
}
