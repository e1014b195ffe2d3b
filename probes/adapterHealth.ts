/** Adapter health: is it applied, did it train, how large is it, and what was not loaded. */
import * as z from "zod";
import { WorkbenchError } from "../server/errors.ts";
import { at } from "../server/at.ts";
import { factoredSpectra } from "../server/linalg/factoredSpectra.ts";
import { norm } from "../server/linalg/vectors.ts";
import { defineProbe } from "./defineProbe.ts";
import { promptChange } from "./promptChange.ts";
import { promptText, readPrompt } from "./promptPair.ts";
import type { Metric, ProbeEvent, TableFigure } from "./result.ts";
import { baseWeights } from "./weights/baseWeights.ts";
import { numberColumns, wordColumns } from "./weights/columns.ts";
import { loadedTable } from "./weights/loadedTable.ts";
import { SiteMap } from "./weights/siteMap.ts";
import { siteTrouble } from "./weights/siteTrouble.ts";

const normMetrics: readonly Metric[] = [
  { id: "relative_norm", label: "‖ΔW‖/‖W‖", unit: "relative to the base weight", scale: "sequential" },
  { id: "norm", label: "‖ΔW‖", unit: "Frobenius norm", scale: "sequential" },
];

export const adapterHealth = defineProbe({
  title: "Health",
  summary: "Is the adapter applied, did it train, and what was not loaded?",
  source: "norms of s·B·A by site; KL(adapted ‖ base) on a prompt",
  needs: "weights",
  adapters: { min: 1, max: 16 },
  params: z.strictObject({ prompt: promptText.optional().describe("Prompt on which base and adapted are compared; needs a base model") }),
  async *run(subject, { prompt }, signal): AsyncGenerator<ProbeEvent, void, void> {
    const { adapters, model, runner } = subject;
    yield { type: "figure", figure: loadedTable(subject) };
    const metrics = model ? normMetrics : normMetrics.slice(1);
    const baseOf = baseWeights(model);
    const total = adapters.reduce((sum, adapter) => sum + adapter.sites.size, 0);
    const rows: TableFigure["rows"][number][] = [];
    let untrained = 0;
    for (const map of SiteMap.of(adapters)) {
      yield* map.arrays(metrics);
      const sites = [...map.adapter.sites.values()];
      let index = 0;
      for await (const { norm: size, squares } of factoredSpectra(sites)) {
        if (signal.aborted) throw new WorkbenchError("job.cancelled", "cancelled");
        const site = at(sites, index++);
        const base = baseOf(site);
        const relative = base && size / norm(base.weight.data());
        const trouble = siteTrouble(size, squares);
        if (size === 0) untrained++;
        yield* map.cells(site, { norm: size, relative_norm: relative });
        rows.push({
          cells: {
            adapter: map.adapter.name,
            site: map.grid.label(site),
            rank: site.rank,
            scaling: site.scaling,
            norm: size,
            relative,
            beyond: site.beyondLowRank ?? "",
            note: trouble ?? "",
          },
          place: map.grid.place(site),
          ...(trouble === null ? {} : { warning: trouble }),
        });
      }
      yield { type: "progress", done: rows.length, total, unit: "sites" };
      yield { type: "figure", figure: normFigure(map, metrics) };
    }
    const broken = rows.filter((row) => !Number.isFinite(row.cells["norm"])).length;
    yield { type: "check", check: { name: "every weight is finite", ok: broken === 0, value: broken, expected: "0 sites with NaN or infinity" } };
    yield { type: "check", check: { name: "every site has trained", ok: untrained === 0, value: untrained, expected: "0 sites with ΔW = 0" } };
    const isCompared = prompt !== undefined && runner !== null;
    if (isCompared) yield* promptChange(runner, readPrompt(subject, prompt, "prompt"), subject.setting, signal);
    yield { type: "figure", figure: siteTable(rows, model !== null) };
    yield { type: "cost", worlds: isCompared ? 2 : 0, bytes: adapters.reduce((sum, adapter) => sum + 4 * adapter.parameters, 0) };
    if (untrained > 0) yield { type: "finding", text: `${untrained} of ${total} sites have ΔW = 0: they were loaded but do nothing.` };
  },
});

const normFigure = (map: SiteMap, metrics: readonly Metric[]) =>
  map.heatmap(metrics, {
    id: "norms",
    title: (name) => `Where ${name === "" ? "the adapter" : name} changes the weights`,
    subtitle: metrics.length > 1 ? "Size of the low-rank term s·B·A beside the weight it is added to" : "Size of the low-rank term s·B·A",
  });

const siteTable = (rows: TableFigure["rows"], hasBase: boolean): TableFigure => ({
  kind: "table",
  id: "sites",
  title: "Sites",
  subtitle: hasBase ? "Norms of the low-rank term, alone and relative to W" : "Norms of the low-rank term",
  columns: [
    ...wordColumns({ adapter: "adapter", site: "site" }),
    ...numberColumns({ rank: "rank", scaling: "scaling", norm: "‖ΔW‖", ...(hasBase ? { relative: "‖ΔW‖/‖W‖" } : {}) }),
    ...wordColumns({ beyond: "beyond low rank", note: "note" }),
  ],
  rows,
});
