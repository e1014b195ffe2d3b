/** What the spectra of all sites are shown as: a line a site, a row a site, and a sentence. */
import type { SiteAdapter } from "../../server/adapters/method.ts";
import type { SpectrumFigure, TableFigure } from "../result.ts";
import { siteKind } from "../siteGrid.ts";
import { numberColumns, wordColumns } from "./columns.ts";
import type { SiteMap } from "./siteMap.ts";

/** A site, in the map of its adapter. */
export interface MappedSite {
  readonly map: SiteMap;
  readonly site: SiteAdapter;
}

export const spectrumArray = ({ map, site }: MappedSite): string => map.named(`${site.site}.singular_values`);

export function spectrumFigure(sites: readonly MappedSite[]): SpectrumFigure {
  return {
    kind: "spectrum",
    id: "spectrum",
    title: "Singular values of ΔW",
    subtitle: "One line a site, exact from the factors · component 0 is the largest",
    unit: "σ of s·B·A",
    series: sites.map(({ map, site }) => ({
      id: `${map.adapter.name}:${site.site}`,
      label: map.grid.label(site),
      place: map.grid.place(site),
      values: { array: spectrumArray({ map, site }) },
      note: siteKind(site),
    })),
  };
}

export function spectrumTable(rows: TableFigure["rows"]): TableFigure {
  return {
    kind: "table",
    id: "table",
    title: "Sites",
    subtitle: "σ₁² share: how much of ‖ΔW‖² the first component holds",
    columns: [
      ...wordColumns({ adapter: "adapter", site: "site" }),
      ...numberColumns({
        rank: "rank",
        norm: "‖ΔW‖",
        sigma: "σ₁",
        share: "σ₁² share",
        effective: "effective rank",
        energyRank: "effective rank of σ²",
        stable: "stable rank",
      }),
    ],
    rows,
  };
}

/** Where ΔW is largest, and how many of its directions it uses in the middle of the sites. */
export function spectrumFinding(rows: TableFigure["rows"]): string {
  const unreadable = rows.filter(({ cells }) => cells["norm"] === null).length;
  const trained = rows.filter(({ cells }) => Number(cells["norm"]) > 0);
  if (trained.length === 0 && unreadable > 0) return `No site has a finite ΔW: ${unreadable} of ${rows.length} hold NaN or infinity.`;
  if (trained.length === 0) return "ΔW is 0 at every site: the adapter was loaded but does nothing.";
  const { cells: largest } = trained.reduce((x, y) => (Number(y.cells["norm"]) > Number(x.cells["norm"]) ? y : x));
  const effective = trained.map(({ cells }) => Number(cells["effective"])).sort((x, y) => x - y);
  const median = effective[effective.length >> 1] ?? NaN;
  const ranks = new Set(trained.map(({ cells }) => cells["rank"]));
  const of = ranks.size === 1 ? ` of ${[...ranks].join()}` : "";
  const name = new Set(rows.map(({ cells }) => cells["adapter"])).size > 1 ? `${largest["adapter"] ?? ""} at ` : "";
  return (
    `ΔW is largest at ${name}${largest["site"] ?? ""} (norm ${Number(largest["norm"]).toPrecision(3)}); the ` +
    `median site uses ${median.toPrecision(2)}${of} directions (effective ` +
    `rank)${unreadable > 0 ? `; ${unreadable} of ${rows.length} sites hold NaN or infinity and are left out` : ""}.`
  );
}
