/** One figure as a file: the picture (SVG, PNG) or its data (JSON, CSV). */
import { Resvg } from "@resvg/resvg-js";
import { slice, type ArrayRef, type Figure, type NamedArray } from "../../probes/result.ts";
import type { FigureFile, FigureRequest } from "./figureRequest.ts";
import { figureCsv } from "./figureCsv.ts";
import { renderFigureSvg } from "./renderFigure.ts";

/** Pixels of a PNG for each unit of the SVG: sharp on paper and on dense screens. */
const pngScale = 2;

export function renderFigureFile(request: FigureRequest): FigureFile {
  const { figure, arrays, format } = request;
  switch (format) {
    case "svg":
      return { contentType: "image/svg+xml", body: svg(request) };
    case "png":
      return { contentType: "image/png", body: new Resvg(svg(request), { fitTo: { mode: "zoom", value: pngScale } }).render().asPng() };
    case "json":
      return { contentType: "application/json", body: `${JSON.stringify({ figure, arrays: figureArrays(figure, arrays), metadata: request.metadata }, null, 1)}\n` };
    case "csv":
      return { contentType: "text/csv", body: figureCsv(figure, arrays) };
    default:
      format satisfies never;
      throw new Error("internal: unknown format");
  }
}

function svg({ figure, arrays, theme, width, metric, metadata }: FigureRequest): string {
  return renderFigureSvg(figure, arrays, { theme, metadata, ...(width === undefined ? {} : { width }), ...(metric === undefined ? {} : { metric }) });
}

/** The arrays a figure points into, as nested names and flat numbers; pending values are null. */
function figureArrays(figure: Figure, arrays: Readonly<Record<string, NamedArray>>): Record<string, object> {
  const refs = arrayRefs(figure);
  return Object.fromEntries(
    [...new Set(refs.map((ref) => ref.array))].map((name) => {
      const { shape, axes, data } = slice(arrays, { array: name });
      return [name, { shape, axes, data: Array.from(data, (value) => (Number.isNaN(value) ? null : value)) }];
    }),
  );
}

export function arrayRefs(figure: Figure): ArrayRef[] {
  switch (figure.kind) {
    case "heatmap":
      return figure.panels.flatMap((panel) => Object.values(panel.values));
    case "spectrum":
      return figure.series.map((series) => series.values);
    case "bars":
      return Object.values(figure.values);
    case "tokenGrid":
      return figure.panels.flatMap((panel) => [panel.values, panel.topIds, panel.topValues]);
    case "attention":
      return [...figure.panels.map((panel) => panel.values), ...(figure.order ? [figure.order] : [])];
    case "table":
      return [];
    default:
      figure satisfies never;
      return [];
  }
}
