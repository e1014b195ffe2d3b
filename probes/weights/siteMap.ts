/** The numbers of one adapter's sites as maps, layer × kind of site: their arrays, their cells and the heatmap that shows them. */
import type { LoadedAdapter } from "../../server/adapters/loadAdapter.ts";
import type { SiteAdapter } from "../../server/adapters/method.ts";
import type { HeatmapFigure, Metric, NullBand, ProbeEvent } from "../result.ts";
import { siteGrid, type SiteGrid } from "../siteGrid.ts";

interface MapWords {
  readonly id: string;
  /** @param name the adapter's where there are several; else "" */
  readonly title: (name: string) => string;
  readonly subtitle: string;
  readonly nulls?: readonly NullBand[];
}

export class SiteMap {
  readonly adapter: LoadedAdapter;
  readonly grid: SiteGrid;
  readonly #areSeveral: boolean;

  private constructor(adapter: LoadedAdapter, areSeveral: boolean) {
    this.adapter = adapter;
    this.grid = siteGrid(adapter);
    this.#areSeveral = areSeveral;
  }

  static of(adapters: readonly LoadedAdapter[]): SiteMap[] {
    return adapters.map((adapter) => new SiteMap(adapter, adapters.length > 1));
  }

  /** Of an array or figure that each adapter has. */
  named(id: string): string {
    return this.#areSeveral ? `${this.adapter.name}.${id}` : id;
  }

  *arrays(metrics: readonly Metric[]): Generator<ProbeEvent> {
    const shape = [this.grid.rows.labels.length, this.grid.kinds.length];
    for (const { id } of metrics) yield { type: "array", name: this.named(id), shape, axes: ["layer", "site"] };
  }

  /** @param numbers by metric; one that is null stays pending */
  *cells(site: SiteAdapter, numbers: Readonly<Record<string, number | null>>): Generator<ProbeEvent> {
    const { row, col } = this.grid.cell(site);
    const offset = row * this.grid.kinds.length + col;
    for (const [id, number] of Object.entries(numbers))
      if (number !== null) yield { type: "tile", array: this.named(id), offset, data: Float32Array.of(number) };
  }

  heatmap(metrics: readonly Metric[], { id, title, subtitle, nulls }: MapWords): HeatmapFigure {
    const { name } = this.adapter;
    const values = Object.fromEntries(metrics.map((metric) => [metric.id, { array: this.named(metric.id) }]));
    return {
      kind: "heatmap",
      id: this.named(id),
      title: title(this.#areSeveral ? name : ""),
      subtitle,
      metrics,
      ...(nulls ? { nulls } : {}),
      panels: [{ id: name, title: name, rows: this.grid.rows, cols: this.grid.cols, values }],
    };
  }
}
