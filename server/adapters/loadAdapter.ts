/** Opens a PEFT adapter folder, with or without its base: every tensor becomes a site, a replaced parameter, or an error. */
import { basename } from "node:path";
import { WorkbenchError } from "../errors.ts";
import { readAdapterConfig, type AdapterConfig } from "../formats/adapterConfig.ts";
import { parseAdapterKeys, type AdapterKey } from "../formats/adapterKeys.ts";
import { openCheckpoint } from "../formats/checkpoint.ts";
import type { TensorEntry } from "../formats/safetensors.ts";
import { matchesTarget } from "../formats/targetMatcher.ts";
import { didYouMean } from "../nearNames.ts";
import { entryWeight, type LoadedModel } from "../models/loadModel.ts";
import { bareModulePath, modelSites, modulePath as pathOf, type ModelSite } from "../models/modelSites.ts";
import { sameShape } from "../tensors/signature.ts";
import type { Weight } from "../tensors/engine.ts";
import { sizeOf } from "../tensors/hostTensor.ts";
import type { AdapterMethod, SiteAdapter } from "./method.ts";
import { methodOf, ownFields } from "./registry.ts";

/** A base parameter that the adapter replaces whole (modules_to_save, trained biases). */
export interface SavedParam {
  /** Id of the segment that it is in. */
  readonly segment: string;
  readonly param: string;
  readonly key: string;
  readonly weight: Weight;
}

export interface LoadedAdapter {
  readonly name: string;
  readonly path: string;
  readonly config: AdapterConfig;
  readonly method: AdapterMethod;
  readonly sites: ReadonlyMap<string, SiteAdapter>;
  readonly saved: readonly SavedParam[];
  readonly parameters: number;
  /** What a reader must know: tensors that have no place in this base, and inits that changed it. */
  readonly warnings: readonly string[];
}

/** The tensors of one module. */
interface Grouped {
  readonly keys: Partial<Record<AdapterKey["role"], AdapterKey>>;
  readonly own: Record<string, AdapterKey>;
}

/**
 * @param model null for weight-only use: sites are then named by their module paths
 * @throws "adapter.wrongBase" when modules or shapes do not fit the model, "adapter.unknownTensor", "adapter.matchedNothing", and what the formats throw
 */
export function loadAdapter(path: string, name: string | undefined, model: LoadedModel | null): LoadedAdapter {
  const config = readAdapterConfig(path, ownFields);
  const where = `${path}/adapter_config.json`;
  const method = methodOf(config, where);
  const checkpoint = openCheckpoint(path);
  const keys = parseAdapterKeys(checkpoint.entries.values(), config, undefined, method.ownTensors ?? []);
  const known = model ? new Map(modelSites(model.family, model.config).map((site) => [site.modulePath, site])) : null;
  const warnings: string[] = config.warning ? [config.warning] : [];

  const grouped = new Map<string, Grouped>();
  const shared: Record<string, AdapterKey> = {};
  const saved: SavedParam[] = [];
  for (const key of keys) {
    if (key.role === "saved" || key.role === "bias") {
      const found = model && savedParam(model, key, path);
      if (found) saved.push(found);
      else warnings.push(savedWarning(model, key));
      continue;
    }
    if (key.own !== undefined && key.modulePath === "") {
      shared[key.own] = key;
      continue;
    }
    const group = grouped.get(key.modulePath) ?? { keys: {}, own: {} };
    if (key.own === undefined) group.keys[key.role] = key;
    else group.own[key.own] = key;
    grouped.set(key.modulePath, group);
  }
  const loadedSites: SiteAdapter[] = [];
  const targets = known && model ? targetsOf(config, known, model) : [];
  const largest = largestTarget(targets);
  for (const [modulePath, group] of grouped) {
    const site = known && model ? siteOf(known, model, modulePath, path, config) : null;
    const isEmbedding = group.keys.embeddingA !== undefined;
    const loaded = withModule(path, () =>
      method.loadSite(config, {
        modulePath,
        ...group,
        shared,
        isEmbedding,
        largest,
        site: site && model ? { ...site, layer: site.layer ?? 0, baseWeight: baseWeight(model, site) } : null,
      }),
    );
    loadedSites.push(loaded);
  }
  // Files are in the order of their keys, where layer 10 comes before layer 2; a stable sort keeps the order inside a layer.
  const sites = new Map(loadedSites.sort((a, b) => a.layer - b.layer).map((site) => [site.site, site]));
  if (sites.size === 0 && saved.length === 0)
    throw new WorkbenchError("adapter.matchedNothing", `${path}: the adapter has no tensor that fits a module of the base`);
  if (model) warnOfMissing(targets, model, grouped, warnings);
  return {
    name: name ?? hookSafeName(basename(path)),
    path,
    config,
    method,
    sites,
    saved,
    parameters: [...checkpoint.entries.values()].reduce((sum, entry) => sum + sizeOf(entry.shape), 0),
    warnings,
  };
}

/** A folder name as part of hook names, where dots separate. */
function hookSafeName(folder: string): string {
  return folder.replace(/[^\w-]+/g, "-");
}

export function baseWeight(model: LoadedModel, site: ModelSite): Weight {
  return model.weights(site.segment)[site.weight]!;
}

function siteOf(known: ReadonlyMap<string, ModelSite>, model: LoadedModel, modulePath: string, path: string, config: AdapterConfig): ModelSite {
  const bare = bareModulePath(model.family, modulePath);
  const site = known.get(bare);
  if (!site) {
    throw new WorkbenchError(
      "adapter.wrongBase",
      `${path}: module "${modulePath}" is not a linear map of ${model.name} (${model.family.name})${config.baseModelNameOrPath ? `; the adapter was trained on "${config.baseModelNameOrPath}"` : ""}; ${didYouMean(bare, known.keys())}`,
    );
  }
  return site;
}

/** A shape that does not fit is the usual sign of another base: say so, with the shapes. */
function withModule<T>(path: string, load: () => T): T {
  try {
    return load();
  } catch (error) {
    if (error instanceof WorkbenchError && error.code === "adapter.shapeMismatch")
      throw new WorkbenchError("adapter.wrongBase", `${path}: ${error.message}; the adapter seems to be for another base`, { cause: error });
    throw error;
  }
}

function savedParam(model: LoadedModel, key: AdapterKey, path: string): SavedParam | null {
  const bareKey = `${bareModulePath(model.family, key.modulePath)}.${key.param ?? "weight"}`;
  for (const { id: segment, params } of model.plan) {
    const spec = params.find((candidate) => candidate.key === bareKey);
    const tiedHead = bareKey === "/lm_head.weight" && model.config.tiedHead ? params.find(({ name }) => name === "W_U") : undefined;
    const param = (spec ?? tiedHead)?.name;
    if (param === undefined) continue;
    if (model.config.tiedHead && (param === "W_E" || param === "W_U")) {
      throw new WorkbenchError(
        "adapter.unsupported",
        `${path}: modules_to_save replaces "${key.modulePath}", which is tied to the other end of the model; train it on an untied base`,
      );
    }
    const shape = model.weights(segment)[param]!.shape;
    if (!sameShape(shape, key.entry.shape)) {
      throw new WorkbenchError("adapter.wrongBase", `${path}: "${key.modulePath}" is [${key.entry.shape.join(", ")}]; the base has [${shape.join(", ")}]`);
    }
    return { segment, param, key: bareKey, weight: savedWeight(key.entry) };
  }
  return null;
}

function savedWeight(entry: TensorEntry): Weight {
  return entryWeight(entry);
}

function savedWarning(model: LoadedModel | null, key: AdapterKey): string {
  const tensor = `${key.modulePath}.${key.param ?? "weight"}`;
  return model
    ? `"${tensor}" is not used: ${model.name} is opened as a language model and has no such parameter`
    : `"${tensor}" is not used: it replaces a parameter of the base, which is not open`;
}

function targetsOf(config: AdapterConfig, known: ReadonlyMap<string, ModelSite>, model: LoadedModel): ModelSite[] {
  return [...known.values()].filter((site) =>
    matchesTarget(config, pathOf(model.family, site.modulePath), { isOutputHead: site.kind === "head", isLinear: site.kind !== "embedding" }),
  );
}

function largestTarget(targets: readonly ModelSite[]): { dIn: number; dOut: number } | null {
  return targets.length === 0 ? null : { dIn: Math.max(...targets.map(({ dIn }) => dIn)), dOut: Math.max(...targets.map(({ dOut }) => dOut)) };
}

/** The config may name more modules than the file has tensors for; what is missing is said, not assumed zero. */
function warnOfMissing(expected: readonly ModelSite[], model: LoadedModel, grouped: ReadonlyMap<string, unknown>, warnings: string[]): void {
  const have = new Set([...grouped.keys()].map((path) => bareModulePath(model.family, path)));
  const missing = expected.filter((site) => !have.has(site.modulePath));
  if (missing.length > 0)
    warnings.push(
      `target_modules names ${missing.length} modules that have no tensors in the file, so they stay as in the base: ${missing
        .slice(0, 3)
        .map((site) => site.fullName)
        .join(", ")}${missing.length > 3 ? ", …" : ""}`,
    );
}
