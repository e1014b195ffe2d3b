/** What a run trains: the base's sites with an adapter each, or all weights; and a head for classification. */
import { trainingNamed } from "../adapters/registry.ts";
import type { SiteState, TrainingMethod, TrainingSite } from "../adapters/method.ts";
import { WorkbenchError } from "../errors.ts";
import { matchesTarget, type TargetConfig } from "../formats/targetMatcher.ts";
import type { LoadedModel } from "../models/loadModel.ts";
import { inputsOf } from "../models/plan.ts";
import { modelSites, modulePath, type ModelSite } from "../models/modelSites.ts";
import { didYouMean } from "../nearNames.ts";
import { float32, sizeOf, type FloatTensor } from "../tensors/hostTensor.ts";
import { gaussians, randomStream } from "../linalg/random.ts";
import type { SiteParams, TrainingParams } from "./trainingParams.ts";

export interface Adaptation {
  readonly model: LoadedModel;
  readonly methodName: string;
  /** Null when all weights are trained. */
  readonly method: TrainingMethod | null;
  /** Made by the method's parseOptions. */
  readonly options: unknown;
  readonly sites: readonly SiteState[];
  /** Classifier `[labels, dModel]` on the last token, without bias, as PEFT's SEQ_CLS has it; null for language modelling. */
  readonly head: FloatTensor | null;
  /** Copies of the base's parameters, by checkpoint key, when all weights are trained. */
  readonly full: ReadonlyMap<string, FloatTensor> | null;
  readonly labels: readonly string[];
  readonly tasks: readonly string[];
}

export interface AdaptationRequest {
  readonly method: string;
  readonly options: unknown;
  readonly sites: SiteParams;
  readonly labels: readonly string[];
  readonly tasks: readonly string[];
  readonly seed: number;
  /** Prefix of the keys of frozen tensors in the engine; unique to the run. */
  readonly runKey: string;
}

/**
 * @throws "training.unknownMethod", "training.badOptions"; "adapter.matchedNothing" with near names when a target is no linear map of the model
 */
export function startAdaptation(model: LoadedModel, request: AdaptationRequest): Adaptation {
  const { labels, tasks, seed } = request;
  const random = (...given: readonly (string | number)[]) => randomStream(seed, "start", ...given);
  const head = labels.length === 0 ? null : float32(gaussians(labels.length * model.config.dModel, 0.02, random("head")), [labels.length, model.config.dModel]);
  const common = { model, methodName: request.method, head, labels, tasks };
  const others = Object.keys(inputsOf(model.family)).filter((name) => name !== "tokens");
  if (others.length > 0)
    throw new WorkbenchError(
      "training.badParams",
      `${model.name} (${model.family.name}) reads ${others.join(", ")} beside its tokens; examples of the data have tokens alone`,
    );
  if (request.method === "full") return { ...common, method: null, options: {}, sites: [], full: fullWeights(model) };
  const method = trainingNamed(request.method);
  const options = method.parseOptions(request.options);
  const allSites = trainingSites(model, request.sites);
  const sites = allSites.map((site): SiteState => {
    method.parameterCount(site, options, tasks.length);
    return { site, ...method.start(site, { options, random, runKey: request.runKey, tasks, allSites }) };
  });
  return { ...common, method, options, sites, full: null };
}

export function adaptationRequest(params: TrainingParams, about: Pick<AdaptationRequest, "labels" | "tasks" | "runKey">): AdaptationRequest {
  return { method: params.method, options: params.options, sites: params.sites, seed: params.seed, ...about };
}

export function targetConfig({ targetModules, excludeModules, layers }: SiteParams): TargetConfig {
  return { targetModules, excludeModules, layersToTransform: layers, layersPattern: [], modulesToSave: [] };
}

/** The linear maps that the parameters name, in the order of the forward pass. @throws "adapter.matchedNothing", "training.badParams" */
export function trainingSites(model: LoadedModel, sites: SiteParams): TrainingSite[] {
  const config = targetConfig(sites);
  const known = modelSites(model.family, model.config).filter(({ kind }) => kind !== "embedding");
  const pathOf = (bare: string) => modulePath(model.family, bare);
  const matches = (target: TargetConfig) => (site: ModelSite) =>
    matchesTarget(target, pathOf(site.modulePath), { isOutputHead: site.kind === "head", isLinear: true });
  const matched = known.filter(matches(config));
  const lastNames = [...new Set(known.map((site) => site.modulePath.split(/[./]/).at(-1)!))];
  if (Array.isArray(sites.targetModules)) {
    for (const name of sites.targetModules) {
      const alone = { ...config, targetModules: [name], layersToTransform: null };
      if (known.some(matches(alone))) continue;
      throw new WorkbenchError("adapter.matchedNothing", `targetModules: "${name}" is no linear map of ${model.name}; ${didYouMean(name, lastNames)}`, {
        field: "sites.targetModules",
      });
    }
  }
  const missing = (sites.layers ?? []).find((layer) => layer >= model.config.nLayers);
  if (missing !== undefined)
    throw new WorkbenchError("training.badParams", `layers: ${missing} is not a layer of ${model.name}; expected 0 to ${model.config.nLayers - 1}`, {
      field: "sites.layers",
    });
  if (matched.length === 0)
    throw new WorkbenchError("adapter.matchedNothing", `sites: nothing of ${model.name} matches; its linear maps are ${lastNames.join(", ")}`, {
      field: "sites.targetModules",
    });
  return matched.map((site) => ({
    name: site.fullName,
    layer: site.layer ?? 0,
    modulePath: pathOf(site.modulePath),
    dIn: site.dIn,
    dOut: site.dOut,
    stored: site.stored,
    baseWeight: model.weights(site.segment)[site.weight]!,
  }));
}

function fullWeights(model: LoadedModel): Map<string, FloatTensor> {
  const weights = new Map<string, FloatTensor>();
  for (const { id, params } of model.plan) {
    const held = model.weights(id);
    for (const { name, key, shape } of params) if (!weights.has(key)) weights.set(key, float32(held[name]!.data().slice(), shape));
  }
  return weights;
}

/** One parameter that training changes. */
export interface TrainedTensor {
  /** "blocks.0.attn.qkv/loraA", "score/weight", "base/h.0.ln_1.weight" */
  readonly key: string;
  /** Name of its rule: "loraA", "score", "base". */
  readonly parameter: string;
  readonly tensor: FloatTensor;
}

export const siteKey = (site: string, parameter: string): string => `${site}/${parameter}`;
export const headKey = "score/weight";
export const fullKey = (checkpointKey: string): string => `base/${checkpointKey}`;

/** Every trained tensor as it is now; `afterStep` may have put others in their place since the last call. */
export function trainedTensors({ sites, head, full }: Adaptation): TrainedTensor[] {
  return [
    ...sites.flatMap(({ site, trained }) => Object.entries(trained).map(([parameter, tensor]) => ({ key: siteKey(site.name, parameter), parameter, tensor }))),
    ...(head ? [{ key: headKey, parameter: "score", tensor: head }] : []),
    ...[...(full ?? [])].map(([key, tensor]) => ({ key: fullKey(key), parameter: "base", tensor })),
  ];
}

export function trainedCount(adaptation: Adaptation): number {
  return trainedTensors(adaptation).reduce((sum, { tensor }) => sum + sizeOf(tensor.shape), 0);
}
