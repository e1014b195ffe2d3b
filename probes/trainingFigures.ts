/** The figures of a training run, pointing at the arrays that steps and looks fill; and what the numbers so far say in words. */
import { changeWords } from "../server/training/abruptChanges.ts";
import { gaugeArray, gaugesOf, isSingle } from "../server/training/monitors/gauges.ts";
import { gradientCurves } from "../server/training/monitors/gradientNorms.ts";
import { intruderRule } from "../server/training/monitors/intruderCount.ts";
import { type MonitorId } from "../server/training/monitors/registry.ts";
import { siteLabel } from "../server/training/monitors/siteLayout.ts";
import { layoutOf } from "../server/training/monitors/size.ts";
import { valuesArray } from "../server/training/monitors/spectra.ts";
import { stepsArray, type Watch } from "../server/training/monitors/watch.ts";
import { layerRows, siteAxis } from "./axes.ts";
import type { Figure, LinesFigure, Place, ProbeEvent, RidgelineFigure } from "./result.ts";

import { finite, openWords, sitesOf } from "./trainingWords.ts";
type Series = LinesFigure["series"][number];
type Markers = NonNullable<LinesFigure["markers"]>;
type Site = Watch["run"]["adaptation"]["sites"][number]["site"];

const steps = { array: stepsArray };
const stepAxis = { label: "step", unit: "optimizer steps" };
const atSteps = { ...stepAxis, values: { array: "step" } };
const atLooks = { ...stepAxis, values: steps };

/** Figures of each monitor; one that is missing does not compile. */
const figuresOf: Record<MonitorId, (watch: Watch) => readonly Figure[]> = {
  spectra(watch) {
    const sites = sitesOf(watch);
    const { beyondLowRank } = watch.run.adaptation.method!;
    const aside = beyondLowRank ? ` · of the low-rank part alone; beside it, ${beyondLowRank}` : "";
    const ridges: RidgelineFigure = {
      kind: "ridgeline",
      id: "spectra_over_time",
      title: "Spectra of ΔW over training",
      subtitle: `One row a look, the singular values at one site${aside}`,
      unit: "σ of ΔW",
      steps,
      panels: sites.map((site) => ({ id: site.name, title: siteLabel(site), place: placeOf(site), values: { array: valuesArray(site.name) } })),
      markers: markersOf(watch),
    };
    return [
      {
        kind: "spectrum",
        id: "spectrum",
        title: "Singular values of ΔW at the chosen step",
        subtitle: `One line a site, exact · component 0 is the largest${aside}`,
        unit: "σ of ΔW",
        steps,
        series: sites.map((site) => ({ id: site.name, label: siteLabel(site), place: placeOf(site), values: { array: valuesArray(site.name) } })),
      },
      ridges,
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
  },
  rotation: (watch) => [
    siteLines(watch, {
      id: "turn",
      title: "Whether the leading component holds its direction",
      subtitle: `Cosine of u vᵀ with the look before · ${changeWords}`,
      label: "cosine",
      unit: "1 = unchanged",
      domain: [-1, 1],
    }),
    siteLines(watch, {
      id: "turn_in",
      title: "Whether ΔW goes on reading the same direction",
      subtitle: "|cosine| of the leading right singular vector with the look before",
      label: "|cosine|",
      unit: "1 = unchanged",
      domain: [0, 1],
    }),
    siteLines(watch, {
      id: "turn_out",
      title: "Whether ΔW goes on writing the same direction",
      subtitle: "|cosine| of the leading left singular vector with the look before",
      label: "|cosine|",
      unit: "1 = unchanged",
      domain: [0, 1],
    }),
    siteLines(watch, {
      id: "turn_since_first",
      title: "How far the leading component is from where it began",
      subtitle: "Cosine of u vᵀ with the first look at which ΔW was not 0",
      label: "cosine",
      unit: "1 = as it began",
      domain: [-1, 1],
    }),
  ],
  size(watch) {
    const { rows, kinds } = layoutOf(watch.run);
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
        id: "relative_norm",
        title: "ΔW beside W, by layer and site",
        subtitle: "‖ΔW‖ / ‖W‖ at the chosen step",
        steps,
        metrics: [{ id: "relative_norm", label: "‖ΔW‖ / ‖W‖", unit: "Frobenius norms", scale: "sequential" }],
        panels: [
          {
            id: "sites",
            title: watch.run.adaptation.method!.title,
            rows: layerRows(rows),
            cols: siteAxis(kinds),
            values: { relative_norm: { array: "relative_norm" } },
          },
        ],
      },
    ];
  },
  gradientNorms(watch) {
    const curves = gradientCurves(watch.run).map((curve, index) => ({ ...curve, index }));
    const parameters = [...new Set(curves.map(({ parameter }) => parameter))];
    return parameters.map((parameter): LinesFigure => ({
      ...lines(watch, {
        id: `gradient_norm_${parameter}`,
        title: `Gradient of ${gradientWords(parameter)}`,
        subtitle: "Norm at the steps that were looked at, before clipping",
        label: "gradient norm",
        unit: "nats per unit",
        scale: "log",
      }),
      series: curves
        .filter((curve) => curve.parameter === parameter)
        .map(({ label, site, layer, index }): Series => ({
          id: `${label}.${parameter}`,
          label,
          place: { ...(layer === null ? {} : { layer }), ...(site === null ? {} : { site }) },
          values: { array: "gradient_norm", column: index },
        })),
    }));
  },
  gauges: (watch) =>
    gaugesOf(watch.run).map((gauge): Figure => {
      const title = gauge.label.charAt(0).toUpperCase() + gauge.label.slice(1);
      if (isSingle(gauge))
        return siteLines(watch, { id: gaugeArray(gauge, ""), title, subtitle: "One line a site, at every look", label: gauge.label, unit: gauge.unit });
      return {
        kind: "ridgeline",
        id: `gauge_${gauge.id}`,
        title,
        subtitle: "One row a look, every entry at one site",
        unit: gauge.unit,
        steps,
        panels: sitesOf(watch).map((site) => ({
          id: site.name,
          title: siteLabel(site),
          place: placeOf(site),
          values: { array: gaugeArray(gauge, site.name) },
        })),
        markers: markersOf(watch),
      };
    }),
  promptShift(watch) {
    const { prompts } = watch.run.prompts!;
    const curves = (array: string, isShown: (prompt: (typeof prompts)[number]) => boolean) =>
      prompts.flatMap((prompt, index): Series[] =>
        isShown(prompt) ? [{ id: `${array}.${index}`, label: prompt.label, place: {}, values: { array, column: index } }] : [],
      );
    const figure = (about: About, isShown: (prompt: (typeof prompts)[number]) => boolean): LinesFigure => ({
      ...lines(watch, about),
      series: curves(about.id, isShown),
    });
    return [
      figure(
        {
          id: "prompt_logit_diff",
          title: "What the pinned prompts are answered with",
          subtitle: "Logit of the answer less that of the counter-answer",
          label: "logit difference",
          unit: "logits",
        },
        ({ counterAnswer }) => counterAnswer !== null,
      ),
      figure(
        {
          id: "prompt_log_prob",
          title: "How likely the answers are",
          subtitle: "Log probability of the answer after each pinned prompt",
          label: "log probability",
          unit: "nats",
        },
        ({ answer }) => answer !== null,
      ),
      figure(
        {
          id: "prompt_kl",
          title: "How far the prediction moved from the base's",
          subtitle: "KL(base ‖ adapted) of the next token after each pinned prompt",
          label: "KL",
          unit: "nats",
        },
        () => true,
      ),
    ].filter(({ series }) => series.length > 0);
  },
  patching(watch) {
    const chosen = watch.run.params.patchSites;
    const sites = sitesOf(watch);
    return [
      {
        ...lines(watch, {
          id: "patch_score",
          title: "What one site's adapter brings about alone",
          subtitle: "Share of the pinned prompts' mean logit difference between base and adapted model, with the adapter on at this site only",
          label: "recovered",
          unit: "1 = as the whole adapter",
        }),
        series: chosen.map((name, index) => {
          const site = sites.find((each) => each.name === name)!;
          return { id: name, label: siteLabel(site), place: placeOf(site), values: { array: "patch_score", column: index } };
        }),
      },
    ];
  },
  intruders: (watch) => [
    siteLines(watch, {
      id: "intruders",
      title: "New leading directions in W + ΔW",
      subtitle:
        `Intruders among the ${intruderRule.count} leading left singular vectors: |cosine| below ${intruderRule.epsilon} with ` +
        `each of W's (Shuttleworth et al. 2024)${openWords(watch)}`,
      label: "intruders",
      unit: `of ${intruderRule.count}`,
    }),
  ],
};

/** Every figure of the run; to be made again after each look, as the markers grow. */
export function trainingFigures(watch: Watch): Figure[] {
  return [lossFigure(watch), ...heldOutFigure(watch), rateFigure(watch), normFigure(watch), ...watch.active.flatMap((id) => figuresOf[id](watch))];
}

/** Declares every array of the run. */
export function trainingArrays(watch: Watch): ProbeEvent[] {
  return watch.arrays().map(({ name, shape, axes }) => ({ type: "array", name, shape, axes }));
}

function lossFigure(watch: Watch): LinesFigure {
  const isPenalised = watch.run.adaptation.method?.penalty !== undefined;
  return {
    kind: "lines",
    id: "loss",
    title: "Loss",
    subtitle: `Mean over the predicted tokens · smoothed: exponential mean of about ${watch.curves.smoothing} steps`,
    x: atSteps,
    y: { label: "loss", unit: "nats", scale: "linear" },
    series: [
      { id: "loss", label: "training", place: {}, values: { array: "loss" } },
      { id: "loss_smoothed", label: "training, smoothed", place: {}, values: { array: "loss_smoothed" } },
      { id: "validation_loss", label: "held out", place: {}, values: { array: "validation_loss" }, x: { array: "evaluation_step" } },
      ...(isPenalised ? [{ id: "penalty", label: "penalty", place: {}, values: { array: "penalty" } }] : []),
    ],
    markers: markersOf(watch),
  };
}

function heldOutFigure(watch: Watch): LinesFigure[] {
  if (finite(watch.numbers("validation_accuracy")).length === 0) return [];
  return [
    {
      kind: "lines",
      id: "validation_accuracy",
      title: "Held-out predictions that were right",
      subtitle: "Share of the held-out tokens or labels whose likeliest prediction is the true one",
      x: { ...stepAxis, values: { array: "evaluation_step" } },
      y: { label: "accuracy", unit: "share", scale: "linear", domain: [0, 1] },
      series: [{ id: "validation_accuracy", label: "held out", place: {}, values: { array: "validation_accuracy" }, x: { array: "evaluation_step" } }],
    },
  ];
}

const rateFigure = (watch: Watch): LinesFigure => ({
  kind: "lines",
  id: "learning_rate",
  title: "Learning rate",
  subtitle: `As scheduled: ${watch.run.adaptation.method ? "parameters with a rate of their own differ" : "of all weights"}`,
  x: atSteps,
  y: { label: "learning rate", unit: "per step", scale: "linear" },
  series: [{ id: "learning_rate", label: "learning rate", place: {}, values: { array: "learning_rate" } }],
});

const normFigure = (watch: Watch): LinesFigure => ({
  kind: "lines",
  id: "gradient_norm_all",
  title: "Gradient norm of all parameters together",
  subtitle: "Before clipping, at every step",
  x: atSteps,
  y: { label: "gradient norm", unit: "nats per unit", scale: "log" },
  series: [{ id: "gradient_norm_all", label: "all", place: {}, values: { array: "gradient_norm_all" } }],
  markers: markersOf(watch),
});

interface About {
  readonly id: string;
  readonly title: string;
  readonly subtitle: string;
  readonly label: string;
  readonly unit: string;
  readonly domain?: readonly [number, number];
  readonly scale?: "linear" | "log";
}

function lines(watch: Watch, { id, title, subtitle, label, unit, domain, scale = "linear" }: About): Omit<LinesFigure, "series"> {
  return { kind: "lines", id, title, subtitle, x: atLooks, y: { label, unit, scale, ...(domain ? { domain } : {}) }, markers: markersOf(watch) };
}

/** A curve a site, of the array that has the figure's id. */
function siteLines(watch: Watch, about: About): LinesFigure {
  return {
    ...lines(watch, about),
    series: sitesOf(watch).map((site, index) => ({ id: site.name, label: siteLabel(site), place: placeOf(site), values: { array: about.id, column: index } })),
  };
}

function markersOf(watch: Watch): Markers {
  return watch.markers.map(({ step, label, site, layer }) => ({
    x: step,
    label,
    place: { ...(layer === null ? {} : { layer }), ...(site === null ? {} : { site }) },
  }));
}

const placeOf = ({ name, layer }: Site): Place => ({ layer, site: name });
const gradientWords = (parameter: string): string => ({ base: "the weights, by layer", score: "the classifier head" })[parameter] ?? `${parameter}, by site`;
