/** Curves of a figure as they are laid over those of other runs. */
import { slice, type ArrayRef, type LinesFigure } from "../../probes/result.ts";
import type { Arrays } from "./context.ts";
import type { Curve } from "./figureModule.ts";

/** A figure of one curve a site is compared by its mean over the sites; one without places curve by curve, smoothed ones instead of raw. */
export function comparedCurves(figure: LinesFigure, arrays: Arrays): Curve[] {
  const numbers = (ref: ArrayRef) => (arrays[ref.array] ? slice(arrays, ref).data : null);
  const read = (series: LinesFigure["series"][number]) => {
    const [x, y] = [numbers(series.x ?? figure.x.values), numbers(series.values)];
    return x && y ? { x, y } : null;
  };
  const { label, unit } = figure.x;
  const bySite = figure.series.filter(({ place }) => place.site !== undefined);
  if (bySite.length > 0) {
    const all = bySite.flatMap((series) => read(series) ?? []);
    const x = all[0]?.x;
    if (!x) return [];
    const mean = Float32Array.from(x, (_, index) => all.reduce((sum, { y }) => sum + (y[index] ?? NaN), 0) / all.length);
    const words = { key: figure.id, title: figure.title, subtitle: `Mean over ${all.length} sites · ${figure.subtitle}` };
    return [{ ...words, x: { label, unit, values: x }, y: figure.y, values: mean }];
  }
  const ids = new Set(figure.series.map(({ id }) => id));
  const shown = figure.series.filter(({ id }) => !ids.has(`${id}_smoothed`));
  return shown.flatMap((series): Curve[] => {
    const found = read(series);
    if (!found) return [];
    const title = shown.length > 1 ? `${figure.title}, ${series.label}` : figure.title;
    return [{ key: `${figure.id}.${series.id}`, title, subtitle: figure.subtitle, x: { label, unit, values: found.x }, y: figure.y, values: found.y }];
  });
}
