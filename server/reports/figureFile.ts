/** One figure as a file: the picture (SVG, PNG, PDF) or its data (JSON, CSV). */
import { figureCsv, figureJson } from "../../client/figures/figureData.ts";
import { printSizes } from "../../client/figures/theme.ts";
import { figureAtStep } from "../../client/figures/snapshots.ts";
import type { FigureFile, FigureRequest } from "./figureRequest.ts";
import { renderFigurePdf, renderFigurePng, renderFigureSvg, type FigureRendering } from "./renderFigure.ts";

/** Pixels of a PNG for each CSS pixel before it is enlarged: 288 dots an inch, sharp on paper and on dense screens. */
const pngScale = 3;

export async function renderFigureFile(asked: FigureRequest): Promise<FigureFile> {
  const { arrays, format } = asked;
  const figure = figureAtStep(asked.figure, arrays, asked.step ?? null);
  const request = { ...asked, figure };
  switch (format) {
    case "svg":
      return { contentType: "image/svg+xml", body: svg(request) };
    case "png":
      return { contentType: "image/png", body: renderFigurePng(svg(request), pngScale / printSizes[request.size ?? "page"].zoom) };
    case "pdf":
      return { contentType: "application/pdf", body: await renderFigurePdf(figure, arrays, rendering(request)) };
    case "json":
      return { contentType: "application/json", body: `${JSON.stringify({ ...figureJson(figure, arrays), command: request.metadata }, null, 1)}\n` };
    case "csv":
      return { contentType: "text/csv", body: figureCsv(figure, arrays) };
    default:
      format satisfies never;
      throw new Error("internal: unknown format");
  }
}

const rendering = ({ metadata, ...drawing }: FigureRequest): FigureRendering => ({
  ...drawing,
  metadata: { command: metadata, ...(drawing.step === undefined ? {} : { step: String(drawing.step) }) },
});
const svg = (request: FigureRequest): string => renderFigureSvg(request.figure, request.arrays, rendering(request));
