/** What forms in ΔW while it trains: its spectra, where its leading component points, how large it is, and what it adds to W's own directions. */
import { changeWords } from "../../server/training/abruptChanges.ts";
import { intruderRule } from "../../server/training/monitors/intruderCount.ts";
import { layoutOf } from "../../server/training/monitors/size.ts";
import { valuesArray } from "../../server/training/monitors/spectra.ts";
import type { Watch } from "../../server/training/monitors/watch.ts";
import { layerRows, siteAxis } from "../axes.ts";
import type { Figure } from "../result.ts";
import { openWords } from "../trainingWords.ts";
import { curvesOf, lookSteps, markersOf, perSite, siteLines } from "./lines.ts";

export function spectraFigures(watch: Watch): Figure[] {
  const beyond = watch.run.adaptation.method?.beyondLowRank;
  const aside = beyond === undefined ? "" : ` · of the low-rank part alone; beside it, ${beyond}`;
  const sites = perSite(watch, (site) => ({ array: valuesArray(site) }));
  return [
    {
      kind: "spectrum",
      id: "spectrum",
      title: "Singular values of ΔW at the chosen step",
      subtitle: `One line a site, exact · component 0 is the largest${aside}`,
      unit: "σ of ΔW",
      steps: lookSteps,
      series: curvesOf(sites),
    },
    {
      kind: "ridgeline",
      id: "spectra_over_time",
      title: "Spectra of ΔW over training",
      subtitle: `One row a look, the singular values at one site${aside}`,
      unit: "σ of ΔW",
      steps: lookSteps,
      panels: sites,
      ...markersOf(watch),
    },
    siteLines(watch, {
      id: "effective_rank",
      title: "How many directions ΔW uses",
      subtitle: "Effective rank: exp of the entropy of σ / Σσ (Roy & Vetterli 2007) · 0 while ΔW is 0",
      label: "effective rank",
      unit: "directions",
    }),
    siteLines(watch, {
      id: "stable_rank",
      title: "How evenly ΔW uses them",
      subtitle: "Stable rank ‖ΔW‖² / σ₁²: 1 when one direction holds all",
      label: "stable rank",
      unit: "‖ΔW‖²/σ₁²",
    }),
  ];
}

export function rotationFigures(watch: Watch): Figure[] {
  const cosine = { label: "cosine", domain: [-1, 1] } as const;
  const size = { label: "|cosine|", unit: "1 = unchanged", domain: [0, 1] } as const;
  return [
    siteLines(watch, {
      id: "turn",
      title: "Whether the leading component holds its direction",
      subtitle: `Cosine of u vᵀ with the look before · ${changeWords}`,
      unit: "1 = unchanged",
      ...cosine,
    }),
    siteLines(watch, {
      id: "turn_in",
      title: "Whether ΔW goes on reading the same direction",
      subtitle: "|cosine| of the leading right singular vector with the look before",
      ...size,
    }),
    siteLines(watch, {
      id: "turn_out",
      title: "Whether ΔW goes on writing the same direction",
      subtitle: "|cosine| of the leading left singular vector with the look before",
      ...size,
    }),
    siteLines(watch, {
      id: "turn_since_first",
      title: "How far the leading component is from where it began",
      subtitle: "Cosine of u vᵀ with the first look at which ΔW was not 0",
      unit: "1 = as it began",
      ...cosine,
    }),
  ];
}

export function sizeFigures(watch: Watch): Figure[] {
  const { rows, kinds } = layoutOf(watch.run);
  const id = "relative_norm";
  return [
    siteLines(watch, {
      id: "norm",
      title: "How large ΔW is",
      subtitle: `Frobenius norm at each site · ${changeWords}`,
      label: "‖ΔW‖",
      unit: "Frobenius norm",
    }),
    {
      kind: "heatmap",
      id,
      title: "ΔW beside W, by layer and site",
      subtitle: "‖ΔW‖ / ‖W‖ at the chosen step",
      steps: lookSteps,
      metrics: [{ id, label: "‖ΔW‖ / ‖W‖", unit: "Frobenius norms", scale: "sequential" }],
      panels: [{ id: "sites", title: watch.run.adaptation.method?.title ?? "", rows: layerRows(rows), cols: siteAxis(kinds), values: { [id]: { array: id } } }],
    },
  ];
}

export function intruderFigures(watch: Watch): Figure[] {
  const { count, epsilon } = intruderRule;
  return [
    siteLines(watch, {
      id: "intruders",
      title: "New leading directions in W + ΔW",
      subtitle:
        `Intruders among the ${count} leading left singular vectors: |cosine| below ${epsilon} with ` +
        `each of W's (Shuttleworth et al. 2024)${openWords(watch)}`,
      label: "intruders",
      unit: `of ${count}`,
    }),
  ];
}
