/** ΔW spectra: exact singular values of every site from its factors, and how far ΔW lies along W's own leading directions. */
import * as z from "zod";
import type { LoadedAdapter } from "../server/adapters/loadAdapter.ts";
import type { SiteAdapter } from "../server/adapters/method.ts";
import { WorkbenchError } from "../server/errors.ts";
import { modelSites } from "../server/models/modelSites.ts";
import { baseWeight } from "../server/adapters/loadAdapter.ts";
import type { Subject } from "../server/runs/subject.ts";
import { at } from "../server/at.ts";
import { factoredSpectra } from "../server/linalg/factoredSpectra.ts";
import { factoredSvd } from "../server/linalg/factored.ts";
import { effectiveRank, energy, energyEffectiveRank, stableRank } from "../server/linalg/spectrum.ts";
import { randomShare, sharedEnergy } from "../server/linalg/subspaces.ts";
import { leadingDirections } from "../server/tensors/topSingular.ts";
import { defineProbe } from "./defineProbe.ts";
import { transposed } from "../server/linalg/matrices.ts";
import { uniform } from "../server/linalg/random.ts";
import type { Figure, Metric, ProbeEvent, SpectrumFigure, TableFigure } from "./result.ts";
import { siteGrid, siteKind, type SiteGrid } from "./siteGrid.ts";

const params = z.strictObject({
  alignWith: z.int().min(0).max(64).default(8).describe("How many of W's own leading directions ΔW is compared with; 0 leaves that out"),
  seed: z.int().min(0).default(7).describe("Seed of the randomised SVD of W"),
});
type Params = z.infer<typeof params>;

/** A number of a table; null where it is none. */
const finite = (value: number): number | null => (Number.isFinite(Math.fround(value)) ? value : null);

const siteMetrics: readonly Metric[] = [
  { id: "norm", label: "‖ΔW‖", unit: "Frobenius norm", scale: "sequential" },
  { id: "effective_rank", label: "effective rank", unit: "directions (Roy & Vetterli)", scale: "sequential" },
  { id: "stable_rank", label: "stable rank", unit: "‖ΔW‖²/σ₁²", scale: "sequential" },
];
const alignMetrics: readonly Metric[] = [
  { id: "align_in", label: "reads along W", unit: "share of ‖ΔW‖² on W's leading input directions", scale: "sequential", domain: [0, 1] },
  { id: "align_out", label: "writes along W", unit: "share of ‖ΔW‖² on W's leading output directions", scale: "sequential", domain: [0, 1] },
];

export const deltaSpectrum = defineProbe<Params>({
  title: "Spectrum",
  summary: "How many directions does the adapter use at each site, and are they W's own?",
  source: "exact SVD of s·B·A from the factors; effective rank: Roy & Vetterli 2007",
  needs: "weights",
  adapters: { min: 1, max: 16 },
  params,
  async *run(subject, options, signal): AsyncGenerator<ProbeEvent, void, void> {
    const several = subject.adapters.length > 1;
    const all = subject.adapters.flatMap((adapter) => {
      const grid = siteGrid(adapter);
      return [...adapter.sites.values()].map((site) => ({ adapter, site, grid, label: grid.label(site) }));
    });
    if (all.length === 0) throw new WorkbenchError("probe.notApplicable", "the open adapters have no low-rank site");
    const prefix = (adapter: LoadedAdapter) => (several ? `${adapter.name}.` : "");
    yield { type: "progress", done: 0, total: all.length, unit: "sites" };
    for (const adapter of subject.adapters) {
      const grid = siteGrid(adapter);
      for (const { id } of siteMetrics)
        yield { type: "array", name: `${prefix(adapter)}${id}`, shape: [grid.rows.labels.length, grid.kinds.length], axes: ["layer", "site"] };
    }
    let worst = 0;
    const rows: TableFigure["rows"][number][] = [];
    let done = 0;
    for await (const { values: sigma, norm } of factoredSpectra(all.map(({ site }) => site))) {
      if (signal.aborted) throw new WorkbenchError("job.cancelled", "cancelled");
      const { adapter, site, grid, label } = at(all, done++);
      worst = Math.max(worst, norm > 0 ? Math.abs(energy(sigma) / norm ** 2 - 1) : 0);
      const name = `${prefix(adapter)}${site.site}.singular_values`;
      yield { type: "array", name, shape: [sigma.length], axes: ["component"] };
      yield { type: "tile", array: name, offset: 0, data: Float32Array.from(sigma) };
      // The other sites are shown all the same, and the adapter's warnings name the tensor.
      const broken = Number.isNaN(norm);
      const zero = !broken && !((sigma[0] ?? 0) > 0);
      const values = broken
        ? { norm: NaN, effective_rank: NaN, stable_rank: NaN }
        : { norm: Math.fround(norm), effective_rank: zero ? 0 : effectiveRank(sigma), stable_rank: zero ? 0 : stableRank(sigma) };
      const { row, col } = grid.cell(site);
      for (const [id, value] of Object.entries(values))
        yield { type: "tile", array: `${prefix(adapter)}${id}`, offset: row * grid.kinds.length + col, data: Float32Array.of(value) };
      rows.push({
        cells: {
          adapter: adapter.name,
          site: label,
          rank: site.rank,
          norm: finite(norm),
          sigma: finite(sigma[0] ?? 0),
          share: zero ? null : finite((sigma[0] ?? 0) ** 2 / energy(sigma)),
          effective: finite(values.effective_rank),
          energyRank: zero ? 0 : broken ? null : finite(energyEffectiveRank(sigma)),
          stable: finite(values.stable_rank),
        },
        place: grid.place(site),
        ...(zero
          ? { warning: "ΔW is 0: this site was not trained" }
          : broken
            ? { warning: "the factors hold NaN or infinity: nothing can be computed here" }
            : !Number.isFinite(norm)
              ? { warning: "ΔW is larger than float32 can hold: its numbers are infinite" }
              : site.beyondLowRank
                ? { warning: `the spectrum is of s·B·A alone; beside it, ${site.beyondLowRank}` }
                : {}),
      });
      if (done === 1 || done === all.length || done % 32 === 0) yield { type: "progress", done, total: all.length, unit: "sites" };
    }
    yield { type: "figure", figure: spectrumFigure(all, prefix) };
    for (const figure of normFigures(subject.adapters, prefix, several)) yield { type: "figure", figure };
    yield { type: "check", check: { name: "Σσ² = ‖ΔW‖²", ok: worst <= 1e-5, value: worst, expected: "relative difference 0 within 1e-5" } };
    if (subject.runner && options.alignWith > 0) yield* alignment(subject, options, prefix, several, signal);
    yield { type: "figure", figure: tableFigure(rows) };
    yield { type: "finding", text: findingOf(rows) };
    yield { type: "cost", worlds: all.length, bytes: all.reduce((sum, { site }) => sum + 4 * site.rank * (site.dIn + site.dOut), 0) };
  },
});

function isFinite({ factors }: SiteAdapter): boolean {
  return factors.left.every(Number.isFinite) && factors.right.every(Number.isFinite);
}

/** Where ΔW is largest, and how many of its directions it uses in the middle of the sites. */
function findingOf(rows: TableFigure["rows"]): string {
  const unreadable = rows.filter(({ cells }) => cells["norm"] === null).length;
  const trained = rows.filter(({ cells }) => Number(cells["norm"]) > 0);
  if (trained.length === 0 && unreadable > 0) return `No site has a finite ΔW: ${unreadable} of ${rows.length} hold NaN or infinity.`;
  if (trained.length === 0) return "ΔW is 0 at every site: the adapter was loaded but does nothing.";
  const largest = trained.reduce((x, y) => (Number(y.cells["norm"]) > Number(x.cells["norm"]) ? y : x));
  const effective = trained.map(({ cells }) => Number(cells["effective"])).sort((x, y) => x - y);
  const median = effective[effective.length >> 1]!;
  const ranks = new Set(trained.map(({ cells }) => cells["rank"]));
  const of = ranks.size === 1 ? ` of ${[...ranks].join()}` : "";
  const name = new Set(rows.map(({ cells }) => cells["adapter"])).size > 1 ? `${largest.cells["adapter"] ?? ""} at ` : "";
  return (
    `ΔW is largest at ${name}${largest.cells["site"] ?? ""} (norm ${Number(largest.cells["norm"]).toPrecision(3)}); the ` +
    `median site uses ${median.toPrecision(2)}${of} directions (effective ` +
    `rank)${unreadable > 0 ? `; ${unreadable} of ${rows.length} sites hold NaN or infinity and are left out` : ""}.`
  );
}

/** W's leading directions by randomised SVD; the null is a random subspace: k of d directions. */
async function* alignment(
  subject: Subject,
  options: Params,
  prefix: (adapter: LoadedAdapter) => string,
  several: boolean,
  signal: AbortSignal,
): AsyncGenerator<ProbeEvent, void, void> {
  const { model, runner } = subject;
  const known = new Map(modelSites(model!.family, model!.config).map((site) => [site.fullName, site]));
  for (const adapter of subject.adapters) {
    const grid = siteGrid(adapter);
    for (const { id } of alignMetrics)
      yield { type: "array", name: `${prefix(adapter)}${id}`, shape: [grid.rows.labels.length, grid.kinds.length], axes: ["layer", "site"] };
    const next = uniform(options.seed);
    let done = 0;
    let [low, high] = [1, 0];
    let inexact = 0;
    for (const site of adapter.sites.values()) {
      if (signal.aborted) throw new WorkbenchError("job.cancelled", "cancelled");
      done++;
      yield { type: "progress", done, total: adapter.sites.size, unit: "base weights" };
      const spec = known.get(site.site);
      if (!spec || !isFinite(site)) continue;
      const k = Math.min(options.alignWith, site.dIn, site.dOut);
      const { left, right, errors } = await leadingDirections(runner!.engine, baseWeight(model!, spec), spec.stored, k, next);
      const { u, s, vt } = factoredSvd(site.factors);
      const { row, col } = grid.cell(site);
      const offset = row * grid.kinds.length + col;
      yield { type: "tile", array: `${prefix(adapter)}align_in`, offset, data: Float32Array.of(sharedEnergy(vt, s, right, site.dIn)) };
      yield {
        type: "tile",
        array: `${prefix(adapter)}align_out`,
        offset,
        data: Float32Array.of(sharedEnergy(transposed(u, site.dOut, site.rank), s, left, site.dOut)),
      };
      inexact = Math.max(inexact, ...errors);
      if (s[0]! > 0) {
        for (const d of [site.dIn, site.dOut]) {
          const { mean, deviation } = randomShare(s, k, d);
          low = Math.min(low, Math.max(0, mean - 2 * deviation));
          high = Math.max(high, Math.min(1, mean + 2 * deviation));
        }
      }
    }
    const words =
      low <= high ? `random directions share k/d, ${low.toPrecision(2)} to ${high.toPrecision(2)} here (mean ± 2 deviations, all sites)` : "no site has a ΔW";
    yield {
      type: "figure",
      figure: {
        kind: "heatmap",
        id: `${prefix(adapter)}alignment`,
        title: several ? `Along W's own directions: ${adapter.name}` : "Along W's own directions",
        subtitle: `Share of ‖ΔW‖² in the span of W's leading ${options.alignWith} singular directions, found to within ${inexact.toPrecision(1)} σ₁ · ${words}`,
        metrics: alignMetrics,
        ...(low <= high ? { nulls: alignMetrics.map(({ id }) => ({ metric: id, low, high, words })) } : {}),
        panels: [
          {
            id: adapter.name,
            title: adapter.name,
            rows: grid.rows,
            cols: grid.cols,
            values: Object.fromEntries(alignMetrics.map(({ id }) => [id, { array: `${prefix(adapter)}${id}` }])),
          },
        ],
      },
    };
  }
}

function spectrumFigure(
  all: readonly { adapter: LoadedAdapter; site: SiteAdapter; grid: SiteGrid; label: string }[],
  prefix: (adapter: LoadedAdapter) => string,
): SpectrumFigure {
  return {
    kind: "spectrum",
    id: "spectrum",
    title: "Singular values of ΔW",
    subtitle: "One line a site, exact from the factors · component 0 is the largest",
    unit: "σ of s·B·A",
    series: all.map(({ adapter, site, grid, label }) => ({
      id: `${adapter.name}:${site.site}`,
      label,
      place: grid.place(site),
      values: { array: `${prefix(adapter)}${site.site}.singular_values` },
      note: siteKind(site),
    })),
  };
}

function normFigures(adapters: readonly LoadedAdapter[], prefix: (adapter: LoadedAdapter) => string, several: boolean): Figure[] {
  return adapters.map((adapter) => {
    const grid = siteGrid(adapter);
    return {
      kind: "heatmap",
      id: `${prefix(adapter)}sites`,
      title: several ? `Size and rank by site: ${adapter.name}` : "Size and rank by site",
      subtitle: "Frobenius norm of ΔW, and how many directions it uses",
      metrics: siteMetrics,
      panels: [
        {
          id: adapter.name,
          title: adapter.name,
          rows: grid.rows,
          cols: grid.cols,
          values: Object.fromEntries(siteMetrics.map(({ id }) => [id, { array: `${prefix(adapter)}${id}` }])),
        },
      ],
    };
  });
}

function tableFigure(rows: TableFigure["rows"]): TableFigure {
  return {
    kind: "table",
    id: "table",
    title: "Sites",
    subtitle: "σ₁² share: how much of ‖ΔW‖² the first component holds",
    columns: [
      { id: "adapter", label: "adapter", numeric: false },
      { id: "site", label: "site", numeric: false },
      { id: "rank", label: "rank", numeric: true },
      { id: "norm", label: "‖ΔW‖", numeric: true },
      { id: "sigma", label: "σ₁", numeric: true },
      { id: "share", label: "σ₁² share", numeric: true },
      { id: "effective", label: "effective rank", numeric: true },
      { id: "energyRank", label: "effective rank of σ²", numeric: true },
      { id: "stable", label: "stable rank", numeric: true },
    ],
    rows,
  };
}
