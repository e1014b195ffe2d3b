/** Hook names, as strings: TransformerLens's own, and the adapter sites' `blocks.L.<site>.lora.<adapter>.hook_*`. */
import type { LoadedAdapter } from "../adapters/loadAdapter.ts";
import { WorkbenchError } from "../errors.ts";
import { positionAxes, type HookAxis, type ModelConfig } from "../models/family.ts";
import type { LoadedModel } from "../models/loadModel.ts";
import { adapterHookName, adapterHooks, fullName } from "../models/siteNames.ts";
import { didYouMean } from "../nearNames.ts";

export interface HookPlace {
  readonly name: string;
  /** Id of the segment that it is in. */
  readonly segment: string;
  /** Null outside the layers. */
  readonly layer: number | null;
  readonly stack: string;
  /** The stack whose length "crossPos" is. */
  readonly crosses: string;
  /** Name inside the segment. */
  readonly local: string;
  /** Of hooks at an adapter's site: its name, and the site's name inside the segment. */
  readonly adapter?: string;
  readonly site?: string;
  readonly axes: readonly (HookAxis | "dIn" | "dOut" | "rank")[];
  /** Sizes of the axes after batch; "pos" and friends are −1 until a prompt is known. */
  readonly sizes: readonly number[];
}

export function allHooks({ plan, config }: LoadedModel, adapters: readonly LoadedAdapter[]): Map<string, HookPlace> {
  const places = new Map<string, HookPlace>();
  for (const segment of plan) {
    const { id, layer, stack, crosses = stack } = segment;
    const add = (place: Pick<HookPlace, "local" | "axes" | "sizes" | "adapter" | "site">) => {
      const name = fullName(segment, place.local);
      places.set(name, { name, segment: id, layer, stack, crosses, ...place });
    };
    for (const { name, axes } of segment.hooks) add({ local: name, axes, sizes: axes.map((axis) => axisSize(config, axis)) });
    for (const site of segment.sites) {
      if (site.kind === "embedding") continue;
      for (const { name, sites } of adapters) {
        const found = sites.get(fullName(segment, site.name));
        if (!found) continue;
        const last = { hook_in: ["dIn", found.dIn], hook_a: ["rank", found.rank], hook_sv: ["rank", found.rank], hook_delta: ["dOut", found.dOut] } as const;
        for (const hook of adapterHooks) {
          const local = adapterHookName(site.name, name, hook);
          add({ local, axes: ["batch", site.along ?? "pos", last[hook][0]], sizes: [-1, -1, last[hook][1]], adapter: name, site: site.name });
        }
      }
    }
  }
  return places;
}

/** @throws "hook.unknown" listing near names */
export function hookPlace(hooks: ReadonlyMap<string, HookPlace>, name: string): HookPlace {
  const place = hooks.get(name);
  if (!place) throw new WorkbenchError("hook.unknown", `hook "${name}" is unknown; ${didYouMean(name, hooks.keys())}`);
  return place;
}

/** Places of each stack, or of all alike. */
export type Positions = number | Readonly<Record<string, number>>;

/** Shape of a hook's value for a batch of prompts. */
export function hookShape({ axes, sizes, stack, crosses }: HookPlace, batch: number, positions: Positions): number[] {
  const lengthOf = (name: string) => (typeof positions === "number" ? positions : (positions[name] ?? 0));
  return axes.map((axis, i) => {
    if (axis === "batch") return batch;
    if (axis === "crossPos") return lengthOf(crosses);
    return isPosition(axis) ? lengthOf(stack) : (sizes[i] ?? 0);
  });
}

const isPosition = (axis: string): boolean => positionAxes.some((each) => each === axis);

function axisSize(config: ModelConfig, axis: HookAxis): number {
  const sizes: Partial<Record<HookAxis, number>> = {
    one: 1,
    dModel: config.dModel,
    head: config.nHeads,
    kvHead: config.nKvHeads,
    dHead: config.dHead,
    dMlp: config.dMlp,
  };
  return sizes[axis] ?? -1;
}
