/** Graphs and scatter plots with invented but believable numbers. */
import type { GraphFigure, Place } from "../../probes/result.ts";
import { array, randomFrom, type Example } from "./exampleNumbers.ts";

const sites = ["attn.q", "attn.v", "attn.o", "mlp.in", "mlp.out"];

interface Node {
  readonly label: string;
  readonly place: Place;
}

/** Components of an adapter, each read by later ones: the nearer and the stronger both are, the more. */
function circuit(id: string, layers: number, nameOf: (layer: number, site: string, component: number) => string): Example {
  const random = randomFrom(43);
  const nodes: Node[] = [{ label: "embed", place: { site: "embed" } }];
  const inSite = (layer: number, site: string, component: number): Node => ({
    label: nameOf(layer, site, component),
    place: { layer, site: `blocks.${layer}.${site}`, component, adapter: component === 0 ? "facts-edit" : "polite" },
  });
  for (let layer = 0; layer < layers; layer++) for (const site of sites) for (const component of [0, 1]) nodes.push(inSite(layer, site, component));
  nodes.push({ label: "logit difference", place: { site: "unembed" } });
  const amount = nodes.map((_, node) => (node === 17 || node === 34 ? 1.4 : 0.9 * random() ** 4));
  const layerOf = (node: number): number => nodes[node]!.place.layer ?? (node === 0 ? -1 : layers);
  const rank = (node: number): number => layerOf(node) + (nodes[node]!.place.site?.includes("mlp") ? 0.5 : 0);
  const edges = nodes.flatMap((_, from) => nodes.flatMap((__, to) => (rank(from) < rank(to) ? [{ from, to }] : [])));
  const figure: GraphFigure = {
    kind: "graph",
    id,
    title: "Which components of ΔW read what others wrote",
    subtitle: "Composition of what one component writes with what a later one reads · share of the written norm",
    nodes,
    amounts: { metric: { id: "effect", label: "effect when switched off", unit: "share of the adapter's", scale: "diverging" }, values: { array: "effect" } },
    edges,
    weights: { metric: { id: "weight", label: "composition", unit: "cosine", scale: "diverging" }, values: { array: "weight" } },
  };
  return {
    arrays: {
      effect: array([nodes.length], ["node"], (node) => amount[node]!),
      weight: array([edges.length], ["edge"], (edge) => {
        const { from, to } = edges[edge]!;
        return (random() < 0.3 ? -1 : 1) * Math.sqrt((amount[from]! + 0.02) * (amount[to]! + 0.02)) * Math.exp(-(layerOf(to) - layerOf(from)) / 4) * random();
      }),
    },
    selection: nodes[17]!.place,
    figure,
  };
}

function byToken(): Example {
  const tokens = ["The", " capital", " of", " Ar", "venia", " is"];
  const random = randomFrom(47);
  const nodes: Node[] = tokens.flatMap((token, position) => [
    { label: `${token.trim()} embed`, place: { position } },
    ...[0, 2, 5, 9].map((layer) => ({ label: `L${layer}H${(position * 3 + layer) % 8}`, place: { layer, position, head: (position * 3 + layer) % 8 } })),
  ]);
  const edges = nodes.flatMap(({ place: a }, from) =>
    nodes.flatMap(({ place: b }, to) => ((a.layer ?? -1) < (b.layer ?? -1) && a.position! <= b.position! ? [{ from, to }] : [])),
  );
  return {
    arrays: {
      amount: array([nodes.length], ["node"], (node) => (node % 7 === 3 ? NaN : random())),
      weight: array([edges.length], ["edge"], (edge) => (edge % 11 === 0 ? NaN : random() ** 6)),
    },
    selection: { layer: 5, position: 4, head: 1 },
    figure: {
      kind: "graph",
      id: "attribution",
      title: "How the answer is put together",
      subtitle: "Attribution along each edge · logits",
      nodes,
      tokens,
      amounts: { metric: { id: "amount", label: "attribution", unit: "logits", scale: "sequential" }, values: { array: "amount" } },
      edges,
      weights: { metric: { id: "weight", label: "attribution along the edge", unit: "logits", scale: "sequential" }, values: { array: "weight" } },
    },
  };
}

function points(count: number, scale: "linear" | "log"): Example {
  const random = randomFrom(53);
  const all = Array.from({ length: count }, (_, index) => ({ layer: Math.floor(index / sites.length), site: sites[index % sites.length]! }));
  return {
    arrays: {
      norm: array([count], ["site"], (index) => (index % 19 === 7 ? NaN : index === 3 ? 0 : 0.02 + 3 * random() ** 3)),
      rank: array([count], ["site"], (index) => 1 + (index % sites.length) * 0.8 + 2 * random()),
    },
    selection: { layer: 2, site: "blocks.2.mlp.in" },
    figure: {
      kind: "scatter",
      id: "size-and-rank",
      title: "Large updates use more directions",
      subtitle: "Each site of the adapter · Frobenius norm of ΔW against its effective rank",
      x: { label: "‖ΔW‖", unit: "Frobenius norm", scale, values: { array: "norm" } },
      y: { label: "effective rank", unit: "", scale: "linear", values: { array: "rank" } },
      groupedBy: "kind of site",
      nulls: [{ metric: "y", low: 2.2, high: 2.9, words: "95 % of random updates of equal norm" }],
      points: all.map(({ layer, site }) => ({ label: `L${layer}.${site}`, place: { layer, site: `blocks.${layer}.${site}` }, group: site })),
    },
  };
}

export const graphExample = circuit("circuit", 6, (layer, site, component) => `L${layer}.${site}#${component}`);
/** As deep as models get, with names as long as adapters and modules have. */
export const deepGraphExample = circuit(
  "deep-circuit",
  48,
  (layer, site, component) => `emergent-misalignment-rank-32·model.layers.${layer}.self_attn.${site}_proj.lora_B#${component}`,
);
export const tokenGraphExample = byToken();
export const scatterExample = points(60, "log");
export const plainScatterExample = points(20, "linear");
