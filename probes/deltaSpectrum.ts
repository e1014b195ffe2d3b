/** ΔW spectra: exact singular values of every site from its factors, and how far ΔW lies along W's own leading directions. */
import * as z from "zod";
import { at } from "../server/at.ts";
import { WorkbenchError } from "../server/errors.ts";
import { factoredSpectra } from "../server/linalg/factoredSpectra.ts";
import { defineProbe } from "./defineProbe.ts";
import type { ProbeEvent, TableFigure } from "./result.ts";
import { alignment } from "./weights/alignment.ts";
import { SiteMap } from "./weights/siteMap.ts";
import { siteSpectrum, sizeMetrics } from "./weights/siteSpectrum.ts";
import { spectrumArray, spectrumFigure, spectrumFinding, spectrumTable, type MappedSite } from "./weights/spectrumFigures.ts";

export const deltaSpectrum = defineProbe({
  title: "Spectrum",
  summary: "How many directions does the adapter use at each site, and are they W's own?",
  source: "exact SVD of s·B·A from the factors; effective rank: Roy & Vetterli 2007",
  needs: "weights",
  adapters: { min: 1, max: 16 },
  params: z.strictObject({
    alignWith: z.int().min(0).max(64).default(8).describe("How many of W's own leading directions ΔW is compared with; 0 leaves that out"),
    seed: z.int().min(0).default(7).describe("Seed of the randomised SVD of W"),
  }),
  async *run({ adapters, runner }, { alignWith, seed }, signal): AsyncGenerator<ProbeEvent, void, void> {
    const maps = SiteMap.of(adapters);
    const all = maps.flatMap((map): MappedSite[] => [...map.adapter.sites.values()].map((site) => ({ map, site })));
    if (all.length === 0) throw new WorkbenchError("probe.notApplicable", "the open adapters have no low-rank site");
    yield { type: "progress", done: 0, total: all.length, unit: "sites" };
    for (const map of maps) yield* map.arrays(sizeMetrics);
    let worst = 0;
    const rows: TableFigure["rows"][number][] = [];
    let done = 0;
    for await (const spectrum of factoredSpectra(all.map(({ site }) => site))) {
      if (signal.aborted) throw new WorkbenchError("job.cancelled", "cancelled");
      const { map, site } = at(all, done++);
      const { sigma, numbers, cells, warning, error } = siteSpectrum(site, spectrum);
      worst = Math.max(worst, error);
      const array = spectrumArray({ map, site });
      yield { type: "array", name: array, shape: [sigma.length], axes: ["component"] };
      yield { type: "tile", array, offset: 0, data: Float32Array.from(sigma) };
      yield* map.cells(site, numbers);
      rows.push({
        cells: { adapter: map.adapter.name, site: map.grid.label(site), rank: site.rank, ...cells },
        place: map.grid.place(site),
        ...(warning === null ? {} : { warning }),
      });
      if (done === 1 || done === all.length || done % 32 === 0) yield { type: "progress", done, total: all.length, unit: "sites" };
    }
    yield { type: "figure", figure: spectrumFigure(all) };
    for (const map of maps) yield { type: "figure", figure: sizeFigure(map) };
    yield { type: "check", check: { name: "Σσ² = ‖ΔW‖²", ok: worst <= 1e-5, value: worst, expected: "relative difference 0 within 1e-5" } };
    if (runner && alignWith > 0) yield* alignment(runner, maps, { directions: alignWith, seed }, signal);
    yield { type: "figure", figure: spectrumTable(rows) };
    yield { type: "finding", text: spectrumFinding(rows) };
    yield { type: "cost", worlds: all.length, bytes: all.reduce((sum, { site }) => sum + 4 * site.rank * (site.dIn + site.dOut), 0) };
  },
});

const sizeFigure = (map: SiteMap) =>
  map.heatmap(sizeMetrics, {
    id: "sites",
    title: (name) => `Size and rank by site${name === "" ? "" : `: ${name}`}`,
    subtitle: "Frobenius norm of ΔW, and how many directions it uses",
  });
