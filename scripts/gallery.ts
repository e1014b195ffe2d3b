/** Every figure kind with invented numbers, as SVG and PNG, to look at: `npx tsx scripts/gallery.ts <folder>`. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { DOMParser } from "linkedom";
import { drawFigure } from "../client/figures/figure.ts";
import { adapterPalette, printSizes, themes } from "../client/figures/theme.ts";
import { renderFigurePng, renderFigureSvg } from "../server/reports/renderFigure.ts";
import { examples } from "../test/figures/examples.ts";

const folder = process.argv[2];
if (!folder) throw new Error("usage: npx tsx scripts/gallery.ts <folder> [part of a name]");
mkdirSync(folder, { recursive: true });
const only = process.argv[3] ?? "";

function onScreen(name: keyof typeof examples, themeName: "light" | "dark", width: number): string {
  const { figure, arrays, selection, pins } = examples[name]!;
  const theme = themes[themeName];
  const svg = new DOMParser().parseFromString('<svg xmlns="http://www.w3.org/2000/svg"></svg>', "image/svg+xml").documentElement as unknown as SVGSVGElement;
  drawFigure(svg, figure, arrays, {
    width,
    theme,
    preset: "screen",
    adapterColours: adapterPalette(["facts-edit", "polite"], theme),
    selection: selection ? { place: selection, figure: figure.id } : null,
    pins: pins ?? [],
  });
  // The page's colour, which the app has behind a figure.
  return svg.toString().replace(/<g>/, `<rect width="100%" height="100%" fill="${theme.background}"/><g>`);
}

for (const name of Object.keys(examples)) {
  if (!name.includes(only)) continue;
  const { figure, arrays } = examples[name]!;
  const pictures = {
    "screen-light": onScreen(name, "light", 860),
    "screen-dark": onScreen(name, "dark", 860),
    "screen-narrow": onScreen(name, "light", 460),
    "print-page": renderFigureSvg(figure, arrays, { theme: "light", width: printSizes.page.width, metadata: {} }),
    "print-column": renderFigureSvg(figure, arrays, { theme: "light", width: printSizes.column.width, metadata: {} }),
  };
  for (const [look, svg] of Object.entries(pictures)) {
    writeFileSync(join(folder, `${name}-${look}.svg`), svg);
    writeFileSync(join(folder, `${name}-${look}.png`), renderFigurePng(svg, look.startsWith("print") ? 2.5 : 1.5));
  }
}
