/** Opens a PEFT adapter folder, with or without its base: every tensor becomes a site, a replaced parameter, or an error. */
import { basename } from "node:path";
import { WorkbenchError } from "../errors.ts";
import { readAdapterConfig, type AdapterConfig } from "../formats/adapterConfig.ts";
import { parseAdapterKeys, type AdapterKey } from "../formats/adapterKeys.ts";
import { adapterFolder } from "../formats/adapterFolder.ts";
import { openAdapterCheckpoint } from "../formats/checkpoint.ts";
import { isFloatDtype } from "../formats/dtypeDecoding.ts";
import { floatValues } from "../formats/tensorValues.ts";
import { matchesTarget } from "../formats/targetMatcher.ts";
import { didYouMean } from "../nearNames.ts";
import { namedShort, quoted } from "../quoted.ts";
import { entryWeight, type LoadedModel } from "../models/loadModel.ts";
import { bareModulePath, modelSites, modulePath as pathOf, type ModelSite } from "../models/modelSites.ts";
import { sameShape } from "../tensors/signature.ts";
import type { Weight } from "../tensors/engine.ts";
import { sizeOf } from "../tensors/hostTensor.ts";
import { baseChangeWarnings } from "./baseChange.ts";
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
  const dir = adapterFolder(path);
  const config = readAdapterConfig(dir, ownFields);
  const where = `${dir}/adapter_config.json`;
  const method = methodOf(config, where);
  const checkpoint = openAdapterCheckpoint(dir);
  const keys = parseAdapterKeys(checkpoint.entries.values(), config, undefined, method.tensors);
  const known = model ? new Map(modelSites(model.family, model.config).map((site) => [site.modulePath, site])) : null;
  const warnings: string[] = [...config.notes, ...baseChangeWarnings(config, model), ...wrapperWarnings(keys), ...nonFiniteWarnings(keys)];

  const grouped = new Map<string, Grouped>();
  const shared: Record<string, AdapterKey> = {};
  const savedAt = new Map<string, SavedParam>();
  const notUsed: string[] = [];
  const narrower = new Set<string>();
  for (const key of keys) {
    refuseEmpty(key);
    if (key.role === "saved" || key.role === "bias" || key.role === "rows") {
      const found = model && savedParams(model, key, config, path);
      // The later of two copies of one parameter holds, as where both ends of a tied pair are in the file.
      if (found) for (const param of found) savedAt.set(`${param.segment} ${param.param}`, param);
      else notUsed.push(`${key.modulePath}.${key.param ?? "weight"}`);
      continue;
    }
    if (key.modulePath !== "" && !isTargeted(config, model, known, key)) {
      narrower.add(key.modulePath);
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
      method.open(config, {
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
  const saved = [...savedAt.values()];
  if (sites.size === 0 && saved.length === 0) {
    const left = narrower.size === 0 ? "" : `; its ${narrower.size} modules are all left out by target_modules, exclude_modules or layers_to_transform`;
    throw new WorkbenchError("adapter.matchedNothing", `${path}: the adapter has no tensor that fits a module of the base${left}`);
  }
  if (notUsed.length > 0) warnings.push(notUsedWarning(model, notUsed));
  if (narrower.size > 0) {
    const some = namesShort([...narrower]);
    warnings.push(
      `${narrower.size} modules have tensors in the file and are left out by target_modules, exclude_modules or ` +
        `layers_to_transform, so they are not applied, as in PEFT: ${some}`,
    );
  }
  if (model) warnOfMissing(targets, model, grouped, warnings);
  return {
    name: name ?? hookSafeName(basename(dir)),
    path: dir,
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
      `${path}: module "${modulePath}" is not a linear map of ${model.name} ` +
        `(${model.family.name})${config.baseModelNameOrPath ? `; the adapter was trained on "${config.baseModelNameOrPath}"` : ""}; ` +
        didYouMean(bare, known.keys()),
    );
  }
  return site;
}

/** A size that differs from the base's is the usual sign of another base: say so, with the shapes. */
function withModule<T>(path: string, load: () => T): T {
  try {
    return load();
  } catch (error) {
    if (!(error instanceof WorkbenchError)) throw error;
    if (error.code === "adapter.shapeMismatch")
      throw new WorkbenchError("adapter.wrongBase", `${path}: ${error.message}; the adapter seems to be for another base`, { cause: error });
    if (error.code === "adapter.malformed" && !error.message.startsWith(path))
      throw new WorkbenchError(error.code, `${path}: ${error.message}`, { cause: error });
    throw error;
  }
}

/** A sharded model leaves [0] behind; a matrix without rows is what a method with ranks that shrink may well have. */
function refuseEmpty({ entry, role }: AdapterKey): void {
  if (sizeOf(entry.shape) > 0 || (entry.shape.length > 1 && role !== "saved")) return;
  throw new WorkbenchError(
    "adapter.malformed",
    `${entry.file}: ${quoted(entry.name)} is empty, [${entry.shape.join(", ")}], as when a model that DeepSpeed ZeRO-3 or ` +
      `FSDP has sharded is saved without gathering it; save the gathered weights`,
  );
}

/** Whether PEFT would make an adapter at the module, so that the tensor has a place to be loaded into. */
function isTargeted(config: AdapterConfig, model: LoadedModel | null, known: ReadonlyMap<string, ModelSite> | null, key: AdapterKey): boolean {
  if (config.targetModules === null) return true;
  const site = model && known ? known.get(bareModulePath(model.family, key.modulePath)) : undefined;
  // Files of the bare model (AutoModel) have paths without the family's prefix; PEFT matches names by their ends.
  const path = model && site ? pathOf(model.family, site.modulePath) : key.modulePath;
  const kind = { isOutputHead: site?.kind === "head", isLinear: site?.kind !== "embedding" && key.role !== "embeddingA" && key.role !== "embeddingB" };
  return matchesTarget(config, path, kind) || matchesTarget(config, key.modulePath, kind);
}

/**
 * What the key replaces: a parameter with a weight of its own, or, where it is a copy of one that the base shares between its ends, both ends; nothing
 * when it is equal.
 */
function savedParams(model: LoadedModel, key: AdapterKey, config: AdapterConfig, path: string): readonly SavedParam[] | null {
  const bareKey = `${bareModulePath(model.family, key.modulePath)}.${key.param ?? "weight"}`;
  const places = model.plan.flatMap(({ id: segment, params }) => params.map(({ name, key: own }) => ({ segment, param: name, key: own })));
  const isHead = bareKey === "/lm_head.weight" && model.config.tiedHead;
  const own = places.find((place) => (isHead ? place.param === "W_U" : place.key === bareKey));
  if (!own) return null;
  const isShared = model.config.tiedHead && (own.param === "W_E" || own.param === "W_U") && key.isOwnCopy !== true;
  const base = weightAt(model, own);
  const weight = key.role === "rows" ? replacedRows(base, key, config, path) : entryWeight(key.entry);
  if (!sameShape(base.shape, weight.shape)) {
    const resized = own.param === "W_E" || own.param === "W_U" ? "; the vocabulary was resized for it: resize the base's, too" : "";
    throw new WorkbenchError(
      "adapter.wrongBase",
      `${path}: "${key.modulePath}" is [${weight.shape.join(", ")}]; the base has [${base.shape.join(", ")}]${resized}`,
    );
  }
  if (key.role === "saved" && isEqual(base.data(), weight.data())) return [];
  const all = isShared ? places.filter(({ param }) => param === "W_E" || param === "W_U") : [own];
  return all.map((place) => ({ ...place, weight }));
}

function weightAt(model: LoadedModel, { segment, param }: Pick<SavedParam, "segment" | "param">): Weight {
  const found = model.weights(segment)[param];
  if (!found) throw new WorkbenchError("internal", `internal: no parameter "${param}" in ${segment}`);
  return found;
}

function isEqual(a: Float32Array, b: Float32Array): boolean {
  return a.every((value, i) => value === b[i]);
}

/** The table with the rows of `trainable_token_indices` put in place: `[dVocab, dModel]`. */
function replacedRows(base: Weight, { entry, modulePath }: AdapterKey, config: AdapterConfig, path: string): Weight {
  const [rows = 0, width = 0] = base.shape;
  const indices = config.trainableTokens(modulePath);
  if (entry.shape[0] !== indices.length || entry.shape[1] !== width)
    throw new WorkbenchError(
      "adapter.malformed",
      `${path}: ${quoted(entry.name)} is [${entry.shape.join(", ")}]; expected [${indices.length}, ${width}], a row for each of trainable_token_indices`,
    );
  const outside = indices.find((index) => index >= rows);
  if (outside !== undefined) throw new WorkbenchError("adapter.wrongBase", `${path}: trainable_token_indices has ${outside}; the base has ${rows} tokens`);
  return {
    key: `${entry.id}:rows of ${base.key}`,
    shape: base.shape,
    data: () => {
      const whole = base.data().slice();
      const values = floatValues(entry);
      indices.forEach((index, i) => whole.set(values.subarray(i * width, (i + 1) * width), index * width));
      return whole;
    },
  };
}

function notUsedWarning(model: LoadedModel | null, names: readonly string[]): string {
  const which = names.map((name) => `"${namedShort(name)}"`);
  const some = which.slice(0, 4).join(", ") + (which.length > 4 ? `, … (${which.length})` : "");
  return model
    ? `not used: ${some}; ${model.name} is opened as a language model and has no such parameter`
    : `not used: ${some}; it replaces a parameter of the base, which is not open`;
}

function wrapperWarnings(keys: readonly AdapterKey[]): string[] {
  const names = [...new Set(keys.flatMap(({ wrappers }) => wrappers ?? []))];
  if (names.length === 0) return [];
  return [
    `the tensors' names hold ${names.map((name) => `"${name}."`).join(", ")}, which a training wrapper put there; they are ` +
      `read without it. PEFT finds no module of these names, loads nothing and runs the base`,
  ];
}

function nonFiniteWarnings(keys: readonly AdapterKey[]): string[] {
  return keys.flatMap(({ entry }) => {
    if (!isFloatDtype(entry.dtype)) return [];
    const values = floatValues(entry);
    const nan = values.reduce((sum, value) => sum + (Number.isNaN(value) ? 1 : 0), 0);
    const infinite = values.reduce((sum, value) => sum + (Math.abs(value) === Infinity ? 1 : 0), 0);
    return nan + infinite === 0
      ? []
      : [`${namedShort(entry.name)} holds ${nan} NaN and ${infinite} infinite of ${values.length} values: the training diverged, or the file is damaged`];
  });
}

function namesShort(names: readonly string[]): string {
  return names.slice(0, 3).map(namedShort).join(", ") + (names.length > 3 ? ", …" : "");
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
