/** Draws an example as on screen, in a document of its own. */
import { DOMParser } from "linkedom";
import { drawFigure, type Drawing, type FigureContext } from "../../client/figures/figure.ts";
import { adapterPalette, light } from "../../client/figures/theme.ts";
import type { AnyFigure, Figure } from "../../probes/result.ts";
import type { Example } from "./examples.ts";

export function draw(
  { figure, arrays }: Pick<Example, "arrays"> & { readonly figure: Figure | AnyFigure },
  context: Partial<FigureContext> = {},
): { svg: SVGSVGElement; drawing: Drawing; all: (selector: string) => Element[]; texts: () => string[] } {
  const svg = new DOMParser().parseFromString('<svg xmlns="http://www.w3.org/2000/svg"></svg>', "image/svg+xml").documentElement as unknown as SVGSVGElement;
  const drawing = drawFigure(svg, figure, arrays, {
    width: 860,
    theme: light,
    preset: "screen",
    adapterColours: adapterPalette(["facts-edit", "polite"], context.theme ?? light),
    ...context,
  });
  const all = (selector: string): Element[] => [...svg.querySelectorAll(selector)];
  return { svg, drawing, all, texts: () => all("text").map((node) => node.textContent) };
}

/** What the texts of an exported SVG say; its letters are outlines. */
export const labelsOf = (svg: string): string[] =>
  [...svg.matchAll(/<g (?=[^>]*class="text")[^>]*aria-label="([^"]*)"/g)].map(([, label]) =>
    (label ?? "").replaceAll("&gt;", ">").replaceAll("&lt;", "<").replaceAll("&quot;", '"').replaceAll("&amp;", "&"),
  );
