/** A figure's numbers as CSV: one row a number, with the labels of its place before it. */
import { slice, type ArrayRef, type Figure, type NamedArray } from "../../probes/result.ts";

type Arrays = Readonly<Record<string, NamedArray>>;
type Row = readonly (string | number | null)[];

export function figureCsv(figure: Figure, arrays: Arrays): string {
  const { head, rows } = figureRows(figure, arrays);
  return [head, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

function figureRows(figure: Figure, arrays: Arrays): { head: Row; rows: Row[] } {
  const values = (ref: ArrayRef): Float32Array => slice(arrays, ref).data;
  switch (figure.kind) {
    case "heatmap": {
      const rows = figure.panels.flatMap(({ title, rows: r, cols: c, values: byMetric }) => {
        const data = figure.metrics.map(({ id }) => (byMetric[id] ? values(byMetric[id]) : null));
        return r.labels.flatMap((row, i) => c.labels.map((col, j): Row => [title, row, j, col, ...data.map((d) => d?.[i * c.labels.length + j] ?? null)]));
      });
      const first = figure.panels[0];
      return { head: ["panel", first?.rows.name ?? "row", "index", first?.cols.name ?? "column", ...figure.metrics.map(({ id }) => id)], rows };
    }
    case "spectrum":
      return {
        head: ["series", "component", figure.unit],
        rows: figure.series.flatMap(({ label, values: ref }) => Array.from(values(ref), (value, k): Row => [label, k, value])),
      };
    case "bars": {
      const data = figure.metrics.map(({ id }) => (figure.values[id] ? values(figure.values[id]) : null));
      return { head: ["group", "bar", ...figure.metrics.map(({ id }) => id)], rows: figure.bars.map(({ group, label }, i): Row => [group, label, ...data.map((d) => d?.[i] ?? null)]) };
    }
    case "tokenGrid": {
      const { rows: r, cols: c } = figure;
      const rows = figure.panels.flatMap(({ title, values: ref, topIds, topValues }) => {
        const data = values(ref);
        const ids = slice(arrays, topIds);
        const probabilities = values(topValues);
        const k = ids.shape.at(-1) ?? 0;
        return r.labels.flatMap((row, i) => c.labels.flatMap((col, j) => {
          const at = i * c.labels.length + j;
          return Array.from({ length: k }, (_, rank): Row => {
            const id = ids.data[at * k + rank]!;
            return [title, row, j, col, data[at] ?? null, rank, id, figure.tokens[id] ?? "", probabilities[at * k + rank] ?? null];
          });
        }));
      });
      return { head: ["panel", r.name, "index", c.name, figure.panels[0]?.metric.id ?? "value", "rank", "token_id", "token", "token_value"], rows };
    }
    case "attention": {
      const n = figure.tokens.length;
      const rows = figure.panels.flatMap(({ title, values: ref }) =>
        Array.from(values(ref), (value, i): Row => [title, Math.floor(i / (n * n * figure.heads)), Math.floor(i / (n * n)) % figure.heads, Math.floor(i / n) % n, i % n, value]),
      );
      return { head: ["panel", "layer", "head", "destination", "source", "value"], rows };
    }
    case "table":
      return { head: figure.columns.map(({ label, unit }) => (unit === undefined ? label : `${label} (${unit})`)), rows: figure.rows.map(({ cells }): Row => figure.columns.map(({ id }) => cells[id] ?? null)) };
    default:
      figure satisfies never;
      return { head: [], rows: [] };
  }
}

/** RFC 4180; a leading formula sign is defused, as spreadsheets would run it. */
function cell(value: string | number | null): string {
  if (value === null || (typeof value === "number" && Number.isNaN(value))) return "";
  if (typeof value === "number") return String(value);
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) || /^\s|\s$/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
