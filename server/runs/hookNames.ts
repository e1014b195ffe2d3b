/** Hook names, as strings: TransformerLens's own, and the adapter sites' `blocks.L.<site>.lora.<adapter>.hook_*`. */
import type { LoadedAdapter } from "../adapters/loadAdapter.ts";
import { WorkbenchError } from "../errors.ts";
import type { HookAxis, ModelConfig, Stage } from "../models/family.ts";
import type { LoadedModel } from "../models/loadModel.ts";
import { fullName, layersOf } from "../models/modelSites.ts";
import { didYouMean } from "../nearNames.ts";

export interface HookPlace {
  readonly name: string;
  readonly stage: Stage;
  readonly layer: number;
  /** Name inside the stage. */
  readonly local: string;
  readonly axes: readonly (HookAxis | "dIn" | "dOut" | "rank")[];
  /** Sizes of the axes after batch; "pos" and friends are −1 until a prompt is known. */
  readonly sizes: readonly number[];
}

/** Adapter hooks of one site: the input, A x, coefficients on the right singular vectors, and the term the adapter adds. */
export const adapterHooks = ["hook_in", "hook_a", "hook_sv", "hook_delta"] as const;

export function allHooks(model: LoadedModel, adapters: readonly LoadedAdapter[]): Map<string, HookPlace> {
  const { family, config } = model;
  const places = new Map<string, HookPlace>();
  const add = (place: HookPlace) => places.set(place.name, place);
  for (const stage of ["embed", "block", "unembed"] as const) {
    const specs = family.hooks(config, stage);
    for (const layer of layersOf(config, stage)) {
      for (const spec of specs)
        add({
          name: fullName(stage, layer, spec.name),
          stage,
          layer,
          local: spec.name,
          axes: spec.axes,
          sizes: spec.axes.map((axis) => axisSize(config, axis)),
        });
      for (const site of family.sites(config, stage, layer)) {
        for (const adapter of adapters) {
          const found = adapter.sites.get(fullName(stage, layer, site.name));
          if (!found || stage === "embed") continue;
          const last = { hook_in: ["dIn", found.dIn], hook_a: ["rank", found.rank], hook_sv: ["rank", found.rank], hook_delta: ["dOut", found.dOut] } as const;
          for (const hook of adapterHooks) {
            const local = adapterHookName(site.name, adapter.name, hook);
            add({ name: fullName(stage, layer, local), stage, layer, local, axes: ["batch", "pos", last[hook][0]], sizes: [-1, -1, last[hook][1]] });
          }
        }
      }
    }
  }
  return places;
}

export function adapterHookName(site: string, adapter: string, hook: (typeof adapterHooks)[number]): string {
  return `${site}.lora.${adapter}.${hook}`;
}

/** @throws "hook.unknown" listing near names */
export function hookPlace(hooks: ReadonlyMap<string, HookPlace>, name: string): HookPlace {
  const place = hooks.get(name);
  if (!place) throw new WorkbenchError("hook.unknown", `hook "${name}" is unknown; ${didYouMean(name, hooks.keys())}`);
  return place;
}

/** Shape of a hook's value for a batch of prompts. */
export function hookShape(place: HookPlace, batch: number, positions: number): number[] {
  return place.axes.map((axis, i) => (axis === "batch" ? batch : axis === "pos" || axis === "destPos" || axis === "srcPos" ? positions : place.sizes[i]!));
}

function axisSize(config: ModelConfig, axis: HookAxis): number {
  const sizes: Record<HookAxis, number> = {
    batch: -1,
    pos: -1,
    destPos: -1,
    srcPos: -1,
    one: 1,
    dModel: config.dModel,
    head: config.nHeads,
    kvHead: config.nKvHeads,
    dHead: config.dHead,
    dMlp: config.dMlp,
  };
  return sizes[axis];
}
