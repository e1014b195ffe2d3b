/** Figures of every kind with invented but believable numbers, for tests and the gallery. */
import { componentColumns, headAxis, layerAxis, positionAxis } from "../../probes/axes.ts";
import type { Metric, NamedArray } from "../../probes/result.ts";

import { array, bump, layers, randomFrom, type Example } from "./exampleNumbers.ts";
import { deepGraphExample, graphExample, plainScatterExample, scatterExample, tokenGraphExample } from "./graphExamples.ts";
import { lossExample, siteLinesExample, ridgelineExample } from "./trainingExamples.ts";
export { array, type Example } from "./exampleNumbers.ts";

const tokens = ["\n", "The", " capital", " of", " Ar", "venia", " is", " the", " city", " of"];
const restored: Metric = { id: "restored", label: "normalised logit difference", unit: "1 = adapted behaviour restored", scale: "diverging", domain: [-1, 1] };
const divergence: Metric = { id: "kl", label: "KL to the adapted run", unit: "nats", scale: "sequential" };

function patching(): Example {
  const random = randomFrom(7);
  const noise = () => (random() - 0.5) * 0.16;
  const value = (panel: number, layer: number, position: number): number => {
    if (panel === 2 && layer > 8) return NaN;
    if (panel === 0)
      return noise() * 0.6 + (position === 5 ? 1.05 * bump(layer, 0.8, 3) : 0) + (position === 9 ? 1.04 / (1 + Math.exp(-(layer - 6.3) * 1.8)) : 0);
    if (panel === 1) return noise() + (position === 9 ? 0.75 * bump(layer, 7.5, 1) : 0);
    return noise() + (position === 5 ? 0.7 * bump(layer, 2.5, 1.2) : 0);
  };
  const patched = array([3, 12, tokens.length], ["panel", "layer", "position"], value);
  const panels = [
    ["resid_pre", "Residual stream · before the block"],
    ["attn_out", "Attention output"],
    ["mlp_out", "MLP output"],
  ] as const;
  return {
    arrays: { restored: patched, kl: { ...patched, data: patched.data.map((each) => Math.abs(1 - each) * 2.1) } },
    selection: { layer: 3, position: 5, site: "mlp_out" },
    pins: [{ layer: 7, position: 9 }],
    figure: {
      kind: "heatmap",
      id: "positions",
      title: "The edited fact enters at ·venia in layers 1–5 and is read out at the end from layer 7",
      subtitle: "Adapted run patched into the base run, one activation at a time · normalised logit difference, 1 = adapted behaviour restored",
      metrics: [restored, divergence],
      nulls: [{ metric: "restored", low: -0.11, high: 0.11, words: "95 % of random directions of equal norm" }],
      panels: panels.map(([id, title], panel) => ({
        id,
        title,
        place: { site: id },
        rows: layerAxis(12),
        cols: positionAxis(tokens),
        values: { restored: { array: "restored", at: [panel] }, kl: { array: "kl", at: [panel] } },
      })),
    },
  };
}

function heads(): Example {
  const random = randomFrom(11);
  return {
    arrays: {
      heads: array([12, 8], ["layer", "head"], (layer, head) =>
        layer === 9 && head === 6 ? 0.71 : layer === 7 && head === 1 ? -0.34 : (random() - 0.5) * 0.12,
      ),
    },
    selection: { layer: 9, head: 6 },
    figure: {
      kind: "heatmap",
      id: "heads",
      title: "Patching by head",
      subtitle: "One head's output at all positions · 1 = adapted behaviour restored",
      metrics: [restored],
      panels: [
        {
          id: "heads",
          title: "Head outputs",
          rows: layerAxis(12),
          cols: headAxis(8),
          values: { restored: { array: "heads" } },
        },
      ],
    },
  };
}

function components(): Example {
  const random = randomFrom(13);
  const sites = ["attn.q", "attn.k", "attn.v", "attn.o", "mlp.in", "mlp.out"];
  const parts = sites.flatMap((site) => layers(8).map((component) => ({ site, component: Number(component), adapter: "facts-edit" })));
  const { axis } = componentColumns(parts);
  const effect: Metric = { id: "effect", label: "share of the adapter's effect lost", unit: "", scale: "diverging" };
  return {
    arrays: {
      grid: array([12, parts.length], ["layer", "component"], (layer, column) =>
        layer === 3 && column === 32
          ? 0.58
          : layer === 4 && column === 40
            ? 0.31
            : layer > 9 && column > 40
              ? NaN
              : (random() - 0.5) * 0.1 * bump(column % 8, 0, 3),
      ),
    },
    selection: { layer: 3, site: "blocks.3.mlp.in", component: 0, adapter: "facts-edit" },
    figure: {
      kind: "heatmap",
      id: "components",
      title: "Every component of every site",
      subtitle: "Each singular component of ΔW switched off alone · share of the adapter's effect on the answer that is lost",
      metrics: [effect],
      panels: [
        {
          id: "components",
          title: "Components by layer and site",
          rows: layerAxis(12),
          cols: axis,
          values: { effect: { array: "grid" } },
        },
      ],
    },
  };
}

export function dense(positions = 300, count = 32): Example {
  const random = randomFrom(17);
  const labels = Array.from({ length: positions }, (_, index) => [" the", " committee", "\n", " of", "Ġlong", " 1999", " international"][index % 7]!);
  return {
    arrays: {
      restored: array([2, count, positions], ["panel", "layer", "position"], (panel, layer, position) =>
        panel === 1 && layer > count - 4
          ? NaN
          : bump(position, positions * 0.3, 6) * bump(layer, count * 0.2, 5) * 0.9 +
            (position > positions - 8 ? layer / count : 0) * 1.2 +
            (random() - 0.5) * 0.1,
      ),
    },
    selection: { layer: 5, position: 90 },
    figure: {
      kind: "heatmap",
      id: "dense",
      title: "Patching by layer and position",
      subtitle: "A long prompt",
      metrics: [restored],
      panels: ["resid_pre", "mlp_out"].map((id, panel) => ({
        id,
        place: { site: id },
        title: id === "resid_pre" ? "Residual stream · before the block" : "MLP output",
        rows: layerAxis(count),
        cols: positionAxis(labels),
        values: { restored: { array: "restored", at: [panel] } },
      })),
    },
  };
}

function spectrumExample(count: number, sites: readonly string[], adapters: readonly string[]): Example {
  const random = randomFrom(19);
  const rank = 8;
  const all = adapters.flatMap((adapter) => sites.flatMap((site) => layers(count).map((layer) => ({ adapter, site, layer: Number(layer) }))));
  return {
    arrays: {
      sigma: array(
        [all.length, rank],
        ["series", "component"],
        (series, component) =>
          (0.4 + 2.2 * random() * bump(all[series]!.layer, 4, 5)) * Math.exp(-component * (0.35 + 0.3 * (series % 3))) * (0.9 + 0.2 * random()),
      ),
    },
    selection: { layer: 3, site: "blocks.3.mlp.in", component: 0, adapter: adapters[0]! },
    figure: {
      kind: "spectrum",
      id: "spectrum",
      title: "Singular values of ΔW",
      subtitle: "By site and layer · unit of the weights",
      unit: "",
      series: all.map(({ adapter, site, layer }, index) => ({
        id: `${adapter}.${layer}.${site}`,
        label: `${adapters.length > 1 ? `${adapter} ` : ""}L${layer}.${site}`,
        place: { layer, site: `blocks.${layer}.${site}`, adapter },
        values: { array: "sigma", at: [index] },
        note: `effective rank ${(2 + 3 * random()).toFixed(1)}`,
      })),
    },
  };
}

function barsExample(adapters: readonly string[], each: number): Example {
  const random = randomFrom(23);
  const sites = ["mlp.in", "mlp.out", "attn.v", "attn.o", "attn.q"];
  const all = adapters.flatMap((adapter) =>
    Array.from({ length: each }, (_, index) => ({ adapter, layer: (index * 5 + 3) % 12, site: sites[index % 5]!, component: index % 3 })),
  );
  const effect: Metric = { id: "effect", label: "effect on the answer when switched off", unit: "share of the adapter's whole effect", scale: "diverging" };
  return {
    arrays: {
      effect: array([all.length], ["bar"], (index) =>
        index % each === each - 1 ? NaN : (0.97 * Math.exp(-(index % each) * 0.32) + (random() - 0.5) * 0.1) * (index % each === 4 ? -1 : 1),
      ),
    },
    selection: { layer: 3, site: "blocks.3.mlp.in", component: 0, adapter: adapters[0]! },
    figure: {
      kind: "bars",
      id: "strongest",
      title: "Strongest components",
      subtitle: "Effect on the answer when switched off, as a share of the adapter's whole effect",
      metrics: [effect],
      nulls: [{ metric: "effect", low: -0.08, high: 0.14, words: "95 % of random directions" }],
      bars: all.map(({ adapter, layer, site, component }) => ({
        label: `L${layer}.${site}#${component}`,
        group: adapter,
        place: { adapter, layer, site: `blocks.${layer}.${site}`, component },
      })),
      values: { effect: { array: "effect" } },
    },
  };
}

function lens(): Example {
  const random = randomFrom(29);
  const words = [" Tolm", " Krest", " the", " town", " Tol", " city", "\n", " international", " of", " is", " capital", "venia", ","];
  const rows = layerAxis(12, "out");
  const [count, k] = [tokens.length, 3];
  const probability: Metric = { id: "probability", label: "probability of the top token", unit: "", scale: "sequential", domain: [0, 1] };
  const kl: Metric = { id: "kl", label: "KL from base to adapted", unit: "nats", scale: "sequential" };
  const confidence = (row: number, col: number) => Math.min(0.98, Math.max(0.04, (row / 13) ** 2 * (0.5 + (0.5 * ((col * 7) % 5)) / 4) + 0.08 * random()));
  const arrays: Record<string, NamedArray> = {};
  for (const panel of ["base", "adapted", "difference"]) {
    arrays[`${panel}.value`] = array([rows.labels.length, count], ["layer", "position"], (row, col) =>
      panel === "difference" ? (col === 9 && row > 6 ? (row - 6) * 0.4 : 0.05 * random()) : panel === "adapted" && row > 11 ? NaN : confidence(row, col),
    );
    arrays[`${panel}.top_ids`] = array([rows.labels.length, count, k], ["layer", "position", "rank"], (row, col, rank) =>
      col === 9 && row > 7 ? (panel === "base" ? 1 : 0) : rank === 0 ? (row * 3 + col * 5 + (row > 6 ? col : row)) % words.length : rank,
    );
    arrays[`${panel}.top_values`] = array(
      [rows.labels.length, count, k],
      ["layer", "position", "rank"],
      (row, col, rank) => confidence(row, col) / (1 + rank * 2),
    );
  }
  return {
    arrays,
    selection: { layer: 9, position: 9 },
    figure: {
      kind: "tokenGrid",
      id: "lens",
      title: "Logit lens",
      subtitle:
        "Residual before each block read as a prediction · base and adapted: top token and its probability · difference: KL in nats, and the token " +
        "that gains most",
      rows,
      cols: positionAxis(tokens),
      panels: ["base", "adapted", "difference"].map((id) => ({
        id,
        title: { base: "Base", adapted: "Adapted", difference: "Difference" }[id]!,
        metric: id === "difference" ? kl : probability,
        values: { array: `${id}.value` },
        topIds: { array: `${id}.top_ids` },
        topValues: { array: `${id}.top_values` },
      })),
      tokens: Object.fromEntries(words.map((word, id) => [id, word])),
    },
  };
}

function attentionExample(nLayers: number, nHeads: number, prompt: readonly string[]): Example {
  const random = randomFrom(31);
  const count = prompt.length;
  const weight: Metric = { id: "weight", label: "attention weight", unit: "", scale: "sequential", domain: [0, 1] };
  const change: Metric = { id: "change", label: "change of weight", unit: "adapted − base", scale: "diverging" };
  const pattern = (shift: boolean): NamedArray => {
    const made = array([nLayers, nHeads, count, count], ["layer", "head", "destination", "source"], (layer, head, to, from) => {
      if (from > to) return 0;
      const style = (layer * 3 + head) % 4;
      const turned = shift && (layer * 5 + head * 3) % 7 === 0;
      const base = style === 0 ? bump(from, to - 1, 0.7) : style === 1 ? (from === 0 ? 1 : 0.05) : style === 2 ? bump(from, to, 1.5) : 0.4 + random() * 0.3;
      return base + (turned && from === 5 ? 1.4 : 0) + 0.02 * random();
    });
    for (let row = 0; row < nLayers * nHeads * count; row++) {
      const line = made.data.subarray(row * count, (row + 1) * count);
      const sum = line.reduce((total, each) => total + each, 0);
      line.forEach((each, index) => {
        line[index] = each / sum;
      });
    }
    return made;
  };
  const [base, adapted] = [pattern(false), pattern(true)];
  const difference = { ...base, data: adapted.data.map((each, index) => each - base.data[index]!) };
  const turn = array([nLayers, nHeads], ["layer", "head"], (layer, head) => {
    const from = (layer * nHeads + head) * count * count;
    return difference.data.subarray(from, from + count * count).reduce((sum, each) => sum + Math.abs(each), 0) / count;
  });
  return {
    arrays: { base, adapted, difference, turn },
    figure: {
      kind: "attention",
      id: "attention",
      title: "Attention patterns",
      subtitle: "Heads ordered by how far the adapter turned them · rows look, columns are looked at",
      tokens: prompt,
      layers: nLayers,
      heads: nHeads,
      panels: (["base", "adapted", "difference"] as const).map((id) => ({
        id,
        title: { base: "Base", adapted: "Adapted", difference: "Adapted minus base" }[id],
        metric: id === "difference" ? change : weight,
        values: { array: id },
      })),
      order: { array: "turn" },
    },
  };
}

function tableExample(): Example {
  const places = Array.from({ length: 9 }, (_, layer) => ({ layer, site: `blocks.${layer}.mlp.in` }));
  return {
    arrays: {},
    selection: { layer: 3, site: "blocks.3.mlp.in" },
    figure: {
      kind: "table",
      id: "health",
      title: "Health of every adapted site",
      subtitle: "Norms and ranks of ΔW",
      columns: [
        { id: "site", label: "site", numeric: false },
        { id: "norm", label: "‖ΔW‖/‖W‖", numeric: true },
        { id: "rank", label: "effective rank", numeric: true },
        { id: "sigma", label: "σ", unit: "largest", numeric: true },
        { id: "dead", label: "components below noise", numeric: true },
        { id: "note", label: "remark", numeric: false },
      ],
      rows: places.map((place, index) => ({
        place,
        cells: {
          site: place.site,
          norm: 0.031 / (1 + index),
          rank: 2.1 + index * 0.37,
          sigma: 2.31 / (1 + index) ** 2,
          dead: index === 4 ? null : index % 3,
          note: index === 4 ? "lora_B is all zero: the site was never trained, so nothing here can matter" : "",
        },
        ...(index === 4 ? { warning: "blocks.4.mlp.in was never trained" } : {}),
      })),
    },
  };
}

const longPrompt = Array.from({ length: 90 }, (_, index) => tokens[index % tokens.length]!);
export const examples: Readonly<Record<string, Example>> = {
  patching: patching(),
  heads: heads(),
  components: components(),
  dense: dense(),
  spectrum: spectrumExample(12, ["attn.q", "attn.k", "attn.v", "attn.o", "mlp.in", "mlp.out"], ["facts-edit"]),
  spectrumTwo: spectrumExample(4, ["attn.q", "mlp.in", "mlp.out"], ["facts-edit", "polite"]),
  spectrumFew: spectrumExample(3, ["mlp.in", "mlp.out"], ["facts-edit"]),
  bars: barsExample(["facts-edit"], 24),
  barsTwo: barsExample(["facts-edit", "polite"], 12),
  lens: lens(),
  attention: attentionExample(6, 8, tokens),
  attentionLong: attentionExample(2, 4, longPrompt),
  table: tableExample(),
  loss: lossExample(),
  siteLines: siteLinesExample(),
  ridgeline: ridgelineExample(4),
  ridgelineMany: ridgelineExample(24),
  graph: graphExample,
  graphDeep: deepGraphExample,
  graphTokens: tokenGraphExample,
  scatter: scatterExample,
  scatterPlain: plainScatterExample,
};
