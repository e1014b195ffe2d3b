/** Two adapters on one base whose parts are exchanged, and the gates that exchange them. */
import type { LoadedAdapter } from "../../server/adapters/loadAdapter.ts";
import type { SiteAdapter } from "../../server/adapters/method.ts";
import { WorkbenchError } from "../../server/errors.ts";
import { adapterHookName } from "../../server/models/siteNames.ts";
import type { Subject } from "../../server/runs/subject.ts";
import { strengthOf, type ComponentGate } from "../../server/runs/worlds.ts";

/** One site, or one component of it, by which the two adapters are exchanged. */
export interface Part {
  readonly site: SiteAdapter;
  /** Null: all of the site. */
  readonly component: number | null;
}

/** The adapter patched into (t′), and the one its parts come from (t). */
export interface Pair {
  readonly into: LoadedAdapter;
  readonly from: LoadedAdapter;
  readonly strengths: Readonly<Record<string, number>>;
  /** The sites of both, in the order of the layers. */
  readonly sites: readonly SiteAdapter[];
}

/** @throws "probe.notApplicable" when one is off, or has what gates cannot carry from one to the other */
export function pairOf({ adapters, setting, model }: Subject): Pair {
  const [into, from] = adapters;
  if (!into || !from) throw new WorkbenchError("probe.notApplicable", `Across time takes 2 adapters; ${adapters.length} are open`);
  for (const adapter of [into, from]) {
    if (strengthOf(setting, adapter.name) === 0)
      throw new WorkbenchError("probe.notApplicable", `adapter "${adapter.name}" has strength 0; Across time exchanges parts of two adapters that are on`);
    const beyond = [...adapter.sites.values()].find((site) => site.beyondLowRank !== null);
    if (beyond)
      throw new WorkbenchError(
        "probe.notApplicable",
        `adapter "${adapter.name}" (${adapter.method.title}) does more at ${beyond.site} than add a low-rank product: ${beyond.beyondLowRank}; Across ` +
          `time exchanges low-rank updates, so make the nearest LoRA of both with "deltascope export" and compare those`,
      );
    // PEFT saves the whole embedding beside its adapter, as it was in the base: that replaces nothing.
    const saved = adapter.saved.find(({ segment, param, weight }) => {
      const base = model?.weights(segment)[param]?.data();
      return !base || !equal(weight.data(), base);
    });
    if (saved)
      throw new WorkbenchError(
        "probe.notApplicable",
        `adapter "${adapter.name}" replaces whole parameters of the base ("${saved.key}"), which belong to no site; Across time takes adapters whose ` +
          `updates are all at sites`,
      );
  }
  const sites = [...into.sites.values(), ...[...from.sites.values()].filter(({ site }) => !into.sites.has(site))].sort((a, b) => a.layer - b.layer);
  return { into, from, strengths: Object.fromEntries([into, from].map(({ name }) => [name, strengthOf(setting, name)])), sites };
}

const equal = (x: Float32Array, y: Float32Array): boolean => x.length === y.length && x.every((value, i) => value === y[i]);

export function partsOf({ into, from, sites }: Pair, unit: "site" | "component"): Part[] {
  if (unit === "site") return sites.map((site) => ({ site, component: null }));
  return sites.flatMap((site) => Array.from({ length: Math.max(rankAt(into, site), rankAt(from, site)) }, (_, component) => ({ site, component })));
}

/** 0 where the adapter has no such site: its update there is 0. */
function rankAt(adapter: LoadedAdapter, { site }: SiteAdapter): number {
  return adapter.sites.get(site)?.rank ?? 0;
}

function off(adapter: LoadedAdapter, { site, component }: Part): ComponentGate[] {
  return (component ?? 0) < rankAt(adapter, site) ? [{ adapter: adapter.name, site: site.site, component, value: 0 }] : [];
}

const allOff = (adapter: LoadedAdapter, sites: readonly SiteAdapter[]): ComponentGate[] => sites.flatMap((site) => off(adapter, { site, component: null }));

/** The run patched into: every site of the other adapter off. */
export const nothingReplaced = ({ from, sites }: Pair): ComponentGate[] => allOff(from, sites);

/** The other adapter's run. */
export const everythingReplaced = ({ into, sites }: Pair): ComponentGate[] => allOff(into, sites);

/** The part of `into` off, the same part of `from` on, all else of `from` off. */
export function replaced({ into, from, sites }: Pair, part: Part): ComponentGate[] {
  const elsewhere = sites.filter(({ site }) => site !== part.site.site);
  const components = part.component === null ? [] : Array.from({ length: rankAt(from, part.site) }, (_, component) => component);
  const beside = components.filter((component) => component !== part.component).flatMap((component) => off(from, { site: part.site, component }));
  return [...allOff(from, elsewhere), ...beside, ...off(into, part)];
}

/** The part of `into` off and nothing in its place. */
export function switchedOff(pair: Pair, part: Part): ComponentGate[] {
  return [...nothingReplaced(pair), ...off(pair.into, part)];
}

/** What each adapter adds at each site; the embedding has no such hook. */
export function deltaHooks({ into, from, sites }: Pair): { readonly hook: string; readonly adapter: LoadedAdapter }[] {
  return sites
    .filter(({ site }) => site !== "embed")
    .flatMap(({ site }) =>
      [into, from].filter((adapter) => adapter.sites.has(site)).map((adapter) => ({ hook: adapterHookName(site, adapter.name, "hook_delta"), adapter })),
    );
}
