/** What open adapters bring into a segment: terms at its sites, parameters in place of the base's, and the inputs that gate them. */
import * as tf from "@tensorflow/tfjs-core";
import type { LoadedAdapter } from "../adapters/loadAdapter.ts";
import type { SiteAdapter } from "../adapters/method.ts";
import { WorkbenchError } from "../errors.ts";
import type { Segment, SiteSpec } from "../models/family.ts";
import { adapterHookName, fullName, type AdapterHook } from "../models/siteNames.ts";
import type { Tensors } from "../tensors/engine.ts";
import { float32, type FloatTensor } from "../tensors/hostTensor.ts";
import type { Binding, Given, Handle } from "./binding.ts";
import type { AdapterTerm, Replacement } from "./frame.ts";
import { siteStrengths, strengthOf, type AdapterSetting } from "./worlds.ts";

export interface LoadedTerms {
  /** All that the program depends on beside shapes. */
  readonly about: string;
  terms(given: Given): (site: string) => readonly AdapterTerm[];
  replacements(given: Given): (param: string) => readonly Replacement[];
}

/** @param settings one a batch row @throws "site.unknown" when a gate is on a component that the site does not have */
export function loadedTerms(
  binding: Binding,
  segment: Segment,
  adapters: readonly LoadedAdapter[],
  settings: readonly AdapterSetting[],
  taps: ReadonlySet<string>,
): LoadedTerms {
  const actives = segment.sites.flatMap((spec) =>
    adapters.flatMap((adapter) => {
      const site = adapter.sites.get(fullName(segment, spec.name));
      return site ? [bindSite(binding, { adapter, site, spec }, settings, taps)] : [];
    }),
  );
  const saved = adapters.flatMap((adapter) =>
    adapter.saved
      .filter((each) => each.segment === segment.id)
      .map(({ param, weight }) => ({
        adapter: adapter.name,
        param,
        value: binding.weight(`S:${adapter.name}:${param}`, weight),
        strength: binding.input(
          `strength:${adapter.name}`,
          numbers(settings, (setting) => strengthOf(setting, adapter.name)),
        ),
      })),
  );
  return {
    about: [`adapters ${actives.map(({ about }) => about).join(" ")}`, `saved ${saved.map(({ adapter, param }) => `${adapter}:${param}`).join(" ")}`].join(
      " | ",
    ),
    terms(given) {
      const terms = actives.map(({ term }) => term(given));
      return (site) => terms.filter((term) => term.site === site);
    },
    replacements: (given) => (param) => saved.flatMap((each) => (each.param === param ? [{ value: each.value(given), strength: each.strength(given) }] : [])),
  };
}

interface Active {
  readonly adapter: LoadedAdapter;
  readonly site: SiteAdapter;
  readonly spec: SiteSpec;
}

function bindSite(
  binding: Binding,
  { adapter, site, spec }: Active,
  settings: readonly AdapterSetting[],
  taps: ReadonlySet<string>,
): { about: string; term: (given: Given) => AdapterTerm } {
  const name = (hook: AdapterHook) => adapterHookName(spec.name, adapter.name, hook);
  const prefix = `${adapter.name}:${spec.name}`;
  const gateOf = binding.input(`gate:${prefix}`, gates(settings, adapter.name, site));
  const strength = binding.input(
    `siteStrength:${prefix}`,
    numbers(settings, (setting) => siteStrengths(setting, adapter.name)(site.site)),
  );
  const own = Object.entries(site.weights()).map(([key, weight]): [string, Handle] => [key, binding.weight(`A:${prefix}:${key}`, weight)]);
  const loraA = taps.has(name("hook_a")) ? binding.weight(`A:${prefix}:loraA`, site.loraA) : null;
  return {
    about: `${spec.name}=${adapter.name}:${adapter.method.title}:${site.rank}`,
    term: (given) => ({
      site: spec.name,
      adapter: adapter.name,
      delta(frame) {
        const weights: Tensors = Object.fromEntries(own.map(([key, handle]) => [key, handle(given)]));
        const { read } = weights;
        if (!read) throw new WorkbenchError("internal", `${adapter.method.title} at ${spec.name} has no factor that reads`);
        const add = (x: tf.Tensor, coefficients: tf.Tensor) =>
          adapter.method.delta({ x, base: frame.standing(), gated: tf.mul(coefficients, gateOf(given)), strength: strength(given), weights });
        // [rank, batch, pos] → [batch, pos, rank]
        if (frame.isLookup) return add(frame.standing(), tf.transpose(tf.gather(read, frame.x, 1), [1, 2, 0]));
        const x = frame.hook(name("hook_in"), frame.x);
        if (loraA) frame.hook(name("hook_a"), frame.project(x, loraA(given)));
        return frame.hook(name("hook_delta"), add(x, frame.hook(name("hook_sv"), frame.project(x, read))));
      },
    }),
  };
}

/** A number a world: `[batch, 1, 1]`. */
function numbers(settings: readonly AdapterSetting[], of: (setting: AdapterSetting) => number): FloatTensor {
  return float32(Float32Array.from(settings, of), [settings.length, 1, 1]);
}

/** Strength × gate of each component, one row a world: `[batch, 1, rank]`. */
function gates(settings: readonly AdapterSetting[], adapter: string, { site, rank }: SiteAdapter): FloatTensor {
  const data = new Float32Array(settings.length * rank);
  settings.forEach((setting, row) => {
    const from = row * rank;
    data.fill(siteStrengths(setting, adapter)(site), from, from + rank);
    for (const gate of setting.components ?? []) {
      if (gate.site !== site || gate.adapter !== adapter || gate.component === null) continue;
      if (gate.component >= rank) throw new WorkbenchError("site.unknown", `${site} of "${adapter}" has components 0 to ${rank - 1}; found ${gate.component}`);
      const k = from + gate.component;
      data[k] = (data[k] ?? 0) * gate.value;
    }
  });
  return float32(data, [settings.length, 1, rank]);
}
