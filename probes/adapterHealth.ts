/** Adapter health: is it applied, did it train, how large is it, and what was not loaded. */
import * as z from "zod";
import { baseWeight, type LoadedAdapter } from "../server/adapters/loadAdapter.ts";
import type { SiteAdapter } from "../server/adapters/method.ts";
import { WorkbenchError } from "../server/errors.ts";
import { modelSites } from "../server/models/modelSites.ts";
import { klDivergence } from "../server/runs/metrics.ts";
import { scalingWords, type Subject } from "../server/runs/subject.ts";
import { baseSetting } from "../server/runs/worlds.ts";
import { at } from "../server/at.ts";
import type { FactoredSpectrum } from "../server/linalg/factored.ts";
import { factoredSpectra } from "../server/linalg/factoredSpectra.ts";
import { norm } from "../server/linalg/vectors.ts";
import { defineProbe } from "./defineProbe.ts";
import { promptText, readPrompt } from "./promptPair.ts";
import type { BarsFigure, HeatmapFigure, Metric, ProbeEvent, TableFigure } from "./result.ts";
import { siteGrid } from "./siteGrid.ts";

const params = z.strictObject({
  prompt: promptText.optional().describe("Prompt on which base and adapted are compared; needs a base model"),
});
type Params = z.infer<typeof params>;

const normMetrics: readonly Metric[] = [
  { id: "relative_norm", label: "‖ΔW‖/‖W‖", unit: "relative to the base weight", scale: "sequential" },
  { id: "norm", label: "‖ΔW‖", unit: "Frobenius norm", scale: "sequential" },
];
const klMetric: Metric = { id: "kl", label: "KL of adapted from base", unit: "nats", scale: "sequential" };

export const adapterHealth = defineProbe<Params>({
  title: "Health",
  summary: "Is the adapter applied, did it train, and what was not loaded?",
  source: "norms of s·B·A by site; KL(adapted ‖ base) on a prompt",
  needs: "weights",
  adapters: { min: 1, max: 16 },
  params,
  async *run(subject, { prompt }, signal): AsyncGenerator<ProbeEvent, void, void> {
    yield { type: "figure", figure: loadedTable(subject) };
    const several = subject.adapters.length > 1;
    const baseNorms = baseNormsOf(subject);
    const total = subject.adapters.reduce((sum, adapter) => sum + adapter.sites.size, 0);
    const rows: TableFigure["rows"][number][] = [];
    let done = 0;
    let untrained = 0;
    for (const adapter of subject.adapters) {
      const prefix = several ? `${adapter.name}.` : "";
      const grid = siteGrid(adapter);
      const metrics = subject.model ? normMetrics : normMetrics.slice(1);
      for (const { id } of metrics)
        yield { type: "array", name: `${prefix}${id}`, shape: [grid.rows.labels.length, grid.kinds.length], axes: ["layer", "site"] };
      const sites = [...adapter.sites.values()];
      let index = 0;
      for await (const { norm, squares } of factoredSpectra(sites)) {
        if (signal.aborted) throw new WorkbenchError("job.cancelled", "cancelled");
        const site = at(sites, index++);
        const baseNorm = baseNorms(site);
        const relative = baseNorm === null ? null : norm / baseNorm;
        const trouble = siteTrouble(norm, squares);
        if (norm === 0) untrained++;
        const { row, col } = grid.cell(site);
        const offset = row * grid.kinds.length + col;
        yield { type: "tile", array: `${prefix}norm`, offset, data: Float32Array.of(norm) };
        if (relative !== null) yield { type: "tile", array: `${prefix}relative_norm`, offset, data: Float32Array.of(relative) };
        rows.push({
          cells: {
            adapter: adapter.name,
            site: grid.label(site),
            rank: site.rank,
            scaling: site.scaling,
            norm,
            relative,
            beyond: site.beyondLowRank ?? "",
            note: trouble ?? "",
          },
          place: grid.place(site),
          ...(trouble ? { warning: trouble } : {}),
        });
        done++;
      }
      yield { type: "progress", done, total, unit: "sites" };
      yield { type: "figure", figure: normFigure(adapter, prefix, several, metrics) };
    }
    const finite = rows.every((row) => Number.isFinite(row.cells["norm"]));
    yield {
      type: "check",
      check: {
        name: "every weight is finite",
        ok: finite,
        value: rows.filter((row) => !Number.isFinite(row.cells["norm"])).length,
        expected: "0 sites with NaN or infinity",
      },
    };
    yield { type: "check", check: { name: "every site has trained", ok: untrained === 0, value: untrained, expected: "0 sites with ΔW = 0" } };
    if (prompt !== undefined && subject.runner) yield* compareOn(subject, prompt, signal);
    yield { type: "figure", figure: siteTable(rows, subject.model !== null) };
    const compared = prompt !== undefined && subject.runner !== null;
    yield { type: "cost", worlds: compared ? 2 : 0, bytes: subject.adapters.reduce((sum, adapter) => sum + 4 * adapter.parameters, 0) };
    if (untrained > 0) yield { type: "finding", text: `${untrained} of ${total} sites have ΔW = 0: they were loaded but do nothing.` };
  },
});

/** Why a site does less than it seems: B is 0 (never trained), rows of A are 0, or values are broken. */
function siteTrouble(norm: number, { left, right }: FactoredSpectrum["squares"]): string | null {
  if (Number.isNaN(norm)) return "holds NaN or infinity";
  if (left.every((value) => value === 0)) return "B is 0: not trained, does nothing";
  const dead = left.filter((value, k) => value === 0 || right[k] === 0).length;
  return dead > 0 ? `${dead} of ${left.length} rank-one terms are 0` : null;
}

/** ‖W‖ of a site's base weight, null without a base. */
function baseNormsOf(subject: Subject): (site: SiteAdapter) => number | null {
  const { model } = subject;
  if (!model) return () => null;
  const known = new Map(modelSites(model.family, model.config).map((site) => [site.fullName, site]));
  return (site) => {
    const spec = known.get(site.site);
    if (!spec) return null;
    return norm(baseWeight(model, spec).data());
  };
}

async function* compareOn(subject: Subject, text: string | readonly number[], signal: AbortSignal): AsyncGenerator<ProbeEvent, void, void> {
  const prompt = readPrompt(subject, text, "prompt");
  const runner = subject.runner!;
  const { logits } = await runner.forward({ tokens: [prompt.ids, prompt.ids], settings: [baseSetting, subject.setting], logits: "all", signal });
  const { dVocab } = runner.model.config;
  const positions = prompt.ids.length;
  const logitsAt = (row: number, pos: number) => logits!.data.subarray((row * positions + pos) * dVocab, (row * positions + pos + 1) * dVocab);
  const kl = Float32Array.from({ length: positions }, (_, pos) => klDivergence(logitsAt(1, pos), logitsAt(0, pos)));
  yield { type: "array", name: "kl", shape: [positions], axes: ["position"] };
  yield { type: "tile", array: "kl", offset: 0, data: kl };
  const figure: BarsFigure = {
    kind: "bars",
    id: "kl",
    title: "What the adapter changes on this prompt",
    subtitle: "KL of the adapted from the base prediction after each token",
    metrics: [klMetric],
    bars: prompt.tokens.map((token, position) => ({ label: token, group: "", place: { position } })),
    values: { kl: { array: "kl" } },
  };
  yield { type: "figure", figure };
  const largest = Math.max(...kl);
  yield { type: "check", check: { name: "the adapter changes the output", ok: largest > 1e-6, value: largest, expected: "KL above 1e-6 at some position" } };
}

function loadedTable(subject: Subject): TableFigure {
  return {
    kind: "table",
    id: "loaded",
    title: "What was loaded",
    subtitle: "Method and scaling as the files say; anything left out is named",
    columns: [
      { id: "adapter", label: "adapter", numeric: false },
      { id: "method", label: "method", numeric: false },
      { id: "scaling", label: "scaling", numeric: false },
      { id: "sites", label: "sites", numeric: true },
      { id: "saved", label: "replaced parameters", numeric: true },
      { id: "parameters", label: "parameters", numeric: true },
      { id: "base", label: "trained on", numeric: false },
      { id: "notLoaded", label: "not loaded", numeric: false },
    ],
    rows: subject.adapters.map((adapter) => ({
      cells: {
        adapter: adapter.name,
        method: `${adapter.method.title} (${adapter.method.exactness})`,
        scaling: scalingWords(adapter),
        sites: adapter.sites.size,
        saved: adapter.saved.length,
        parameters: adapter.parameters,
        base: adapter.config.baseModelNameOrPath ?? "",
        notLoaded: adapter.warnings.length === 0 ? "everything was loaded" : adapter.warnings.join("; "),
      },
      place: { adapter: adapter.name },
      ...(adapter.warnings.length > 0 ? { warning: adapter.warnings.join("; ") } : {}),
    })),
  };
}

function normFigure(adapter: LoadedAdapter, prefix: string, several: boolean, metrics: readonly Metric[]): HeatmapFigure {
  const grid = siteGrid(adapter);
  return {
    kind: "heatmap",
    id: `${prefix}norms`,
    title: several ? `Where ${adapter.name} changes the weights` : "Where the adapter changes the weights",
    subtitle: metrics.length > 1 ? "Size of the low-rank term s·B·A beside the weight it is added to" : "Size of the low-rank term s·B·A",
    metrics,
    panels: [
      {
        id: adapter.name,
        title: adapter.name,
        rows: grid.rows,
        cols: grid.cols,
        values: Object.fromEntries(metrics.map(({ id }) => [id, { array: `${prefix}${id}` }])),
      },
    ],
  };
}

function siteTable(rows: TableFigure["rows"], hasBase: boolean): TableFigure {
  return {
    kind: "table",
    id: "sites",
    title: "Sites",
    subtitle: hasBase ? "Norms of the low-rank term, alone and relative to W" : "Norms of the low-rank term",
    columns: [
      { id: "adapter", label: "adapter", numeric: false },
      { id: "site", label: "site", numeric: false },
      { id: "rank", label: "rank", numeric: true },
      { id: "scaling", label: "scaling", numeric: true },
      { id: "norm", label: "‖ΔW‖", numeric: true },
      ...(hasBase ? [{ id: "relative", label: "‖ΔW‖/‖W‖", numeric: true }] : []),
      { id: "beyond", label: "beyond low rank", numeric: false },
      { id: "note", label: "note", numeric: false },
    ],
    rows,
  };
}
