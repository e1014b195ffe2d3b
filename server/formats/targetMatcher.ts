/** Which modules an adapter adapts, decided exactly as PEFT does when it injects one. */
import { WorkbenchError } from "../errors.ts";
import type { AdapterConfig } from "./adapterConfig.ts";
import { pythonFullmatch, pythonMatch } from "./pythonRegex.ts";

/** The fields that choose modules. */
export type TargetConfig = Pick<AdapterConfig, "targetModules" | "excludeModules" | "layersToTransform" | "layersPattern" | "modulesToSave">;

export interface ModuleKind {
  /** A Linear or Conv1D; only these are meant by "all-linear". */
  readonly isLinear: boolean;
  /** The language model's head or the task's classifier, which "all-linear" leaves out. */
  readonly isOutputHead: boolean;
}

/**
 * Whether the adapter targets the module at `modulePath` ("transformer.h.0.attn.c_attn").
 *
 * @throws "adapter.unsupported" when a pattern cannot be read, or target_modules is null (PEFT then knows them by model type)
 * @see peft tuners/tuners_utils.py, check_target_module_exists and _maybe_include_all_linear_layers
 */
export function matchesTarget(config: TargetConfig, modulePath: string, kind: ModuleKind): boolean {
  const { targetModules, excludeModules, modulesToSave } = config;
  if (typeof excludeModules === "string" ? pythonFullmatch(excludeModules, modulePath) : isNamed(excludeModules, modulePath)) return false;
  // Unlike the others, a name in modules_to_save is read as a pattern, and what lies below the module is left out too.
  if (modulesToSave.some((name) => pythonMatch(`(^|.*\\.)${name}($|\\..*)`, modulePath) !== null)) return false;
  if (targetModules === null) {
    throw new WorkbenchError("adapter.unsupported", `adapter config: target_modules is null; expected names, a pattern or "all-linear"`);
  }
  if (isAllLinear(targetModules)) return kind.isLinear && !kind.isOutputHead;
  if (typeof targetModules === "string") return pythonFullmatch(targetModules, modulePath);
  // A module given by its whole path is taken whatever its layer.
  if (targetModules.includes(modulePath)) return true;
  return isNamed(targetModules, modulePath) && isInLayers(config, modulePath);
}

export function isAllLinear(targetModules: TargetConfig["targetModules"]): boolean {
  return typeof targetModules === "string" && targetModules.toLowerCase() === "all-linear";
}

/**
 * The value of `rank_pattern` or `alpha_pattern` for a module: the first key that matches, in the file's order.
 *
 * @see peft utils/other.py, get_pattern_key
 */
export function patternValue(pattern: ReadonlyMap<string, number>, modulePath: string): number | undefined {
  for (const [key, value] of pattern) {
    if (pythonMatch(`(.*\\.)?(${key})$`, modulePath) !== null) return value;
  }
  // PEFT looks up the path itself when no key matches as a pattern: a path with brackets or a plus in it.
  return pattern.get(modulePath);
}

function isNamed(names: readonly string[], modulePath: string): boolean {
  return names.some((name) => modulePath === name || modulePath.endsWith(`.${name}`));
}

function isInLayers({ layersToTransform, layersPattern }: TargetConfig, modulePath: string): boolean {
  if (layersToTransform === null || (Array.isArray(layersToTransform) && layersToTransform.length === 0)) return true;
  const index = layerIndex(layersPattern, modulePath);
  if (index === undefined) return false;
  return typeof layersToTransform === "number" ? index === layersToTransform : layersToTransform.includes(index);
}

/** The first index in the path, not the last: "…layers.1.experts.0…" is layer 1. */
function layerIndex(layersPattern: readonly string[], modulePath: string): number | undefined {
  const patterns =
    layersPattern.length === 0 ? [".*?\\.[^.]*\\.(?P<idx>\\d+)\\."] : layersPattern.map((pattern) => `(?:^|.*?\\.)${pattern}\\.(?P<idx>\\d+)\\.`);
  for (const pattern of patterns) {
    const index = pythonMatch(pattern, modulePath)?.named.get("idx") ?? undefined;
    if (index !== undefined) return Number(index);
  }
  return undefined;
}
