/** Letters that no bundled font has, as outlines from the fonts of this machine; a box where it has none either. */
import { Resvg } from "@resvg/resvg-js";
import type { TextRun } from "./textRuns.ts";

const escaped = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

/** Paths in the drawing's own pixels, as the `d` of SVG. */
export function systemOutlines({ text, x, y, size, weight, family }: TextRun): string[] {
  const fonts = family === "mono" ? "monospace" : "sans-serif";
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1">` +
    `<text xml:space="preserve" x="${x}" y="${y}" font-size="${size}" font-weight="${weight}" font-family="${fonts}">${escaped(text)}</text></svg>`;
  const drawn = new Resvg(svg, { font: { loadSystemFonts: true, sansSerifFamily: "DejaVu Sans", monospaceFamily: "DejaVu Sans Mono" } }).toString();
  return [...drawn.matchAll(/<path [^>]*\bd="([^"]*)"/g)].map(([, path]) => path ?? "");
}
