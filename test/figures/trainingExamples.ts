/** Made-up figures of a training run. */

import { array, layers, randomFrom, type Example } from "./exampleNumbers.ts";

/** A loss that falls, with rarer evaluations. */
export function lossExample(): Example {
  const random = randomFrom(37);
  const loss = (step: number) => 0.35 + 2.4 * Math.exp(-step / 60) + (step > 150 ? -0.18 / (1 + Math.exp(-(step - 180) / 8)) : 0);
  return {
    arrays: {
      step: array([300], ["point"], (index) => (index < 260 ? index + 1 : NaN)),
      loss: array([300], ["point"], (index) => (index < 260 ? loss(index + 1) * (0.9 + 0.2 * random()) : NaN)),
      evaluated: array([15], ["point"], (index) => (index < 13 ? (index + 1) * 20 : NaN)),
      held: array([15], ["point"], (index) => (index < 13 ? loss((index + 1) * 20) + 0.08 + index * 0.006 : NaN)),
    },
    figure: {
      kind: "lines",
      id: "loss",
      title: "Loss",
      subtitle: "Mean over the tokens that are learned from · held out every 20 steps",
      x: { label: "step", unit: "", values: { array: "step" } },
      y: { label: "loss", unit: "nats per token", scale: "linear" },
      series: [
        { id: "train", label: "training", place: {}, values: { array: "loss" } },
        { id: "held", label: "held out", place: {}, values: { array: "held" }, x: { array: "evaluated" } },
      ],
      markers: [{ x: 178, label: "L3.mlp.in: direction turns", place: { layer: 3, site: "blocks.3.mlp.in" } }],
    },
  };
}

const trainedSites = ["attn.qkv", "attn.o", "mlp.in", "mlp.out"].flatMap((site) =>
  layers(6).map((layer) => ({ layer: Number(layer), site: `blocks.${layer}.${site}`, adapter: "facts-edit" })),
);

/** A curve a site. */
export function siteLinesExample(): Example {
  const random = randomFrom(41);
  const heights = trainedSites.map(() => 0.4 + random());
  return {
    arrays: {
      step: array([50], ["point"], (index) => index * 10),
      norm: array(
        [trainedSites.length, 50],
        ["site", "point"],
        (site, index) => heights[site]! / (1 + Math.exp(-(index * 10 - 120 - 12 * trainedSites[site]!.layer) / 40)) + 0.01 * random(),
      ),
    },
    selection: { layer: 3, site: "blocks.3.mlp.in", adapter: "facts-edit" },
    figure: {
      kind: "lines",
      id: "norms",
      title: "Norm of ΔW by site",
      subtitle: "Frobenius norm · unit of the weights",
      x: { label: "step", unit: "", values: { array: "step" } },
      y: { label: "‖ΔW‖", unit: "", scale: "linear" },
      series: trainedSites.map((place, index) => ({
        id: place.site,
        label: `L${place.layer}.${place.site.replace(/^blocks\.\d+\./, "")}`,
        place,
        values: { array: "norm", at: [index] },
      })),
      markers: trainedSites.filter((_, index) => index % 7 === 3).map((place, index) => ({ x: 110 + 31 * index, label: `L${place.layer} ignites`, place })),
    },
  };
}

/** Spectra of a few or many sites over training; two thirds of the snapshots are there. */
export function ridgelineExample(count: number): Example {
  const random = randomFrom(43);
  const sites = trainedSites.slice(0, count);
  const heights = sites.map(() => 0.6 + 1.6 * random());
  const [snapshots, rank] = [45, 8];
  const reached = 30;
  return {
    arrays: {
      steps: array([snapshots], ["snapshot"], (index) => (index < reached ? index * 10 : NaN)),
      spectra: array([sites.length, snapshots, rank], ["site", "snapshot", "component"], (site, index, component) =>
        index < reached ? (heights[site]! * Math.exp(-component * (0.25 + 0.1 * (site % 4)))) / (1 + Math.exp(-(index - 6 - 2.5 * component) / 2)) : NaN,
      ),
    },
    selection: { ...sites[3]!, component: 0 },
    figure: {
      kind: "ridgeline",
      id: "spectra",
      title: "Spectrum of ΔW as it forms",
      subtitle: "Singular values of every site at each look",
      unit: "",
      steps: { array: "steps" },
      panels: sites.map((place, index) => ({
        id: place.site,
        title: `L${place.layer}.${place.site.replace(/^blocks\.\d+\./, "")}`,
        place,
        values: { array: "spectra", at: [index] },
      })),
      markers: [{ x: 90, label: "norm ignites", place: sites[1]! }],
    },
  };
}
