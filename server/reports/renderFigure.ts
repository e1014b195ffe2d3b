/** A figure as an SVG or PNG file, drawn by the same module as on screen. */
import { Resvg } from "@resvg/resvg-js";
import { DOMParser } from "linkedom";
import { adaptersOf } from "../../client/figures/aboutFigure.ts";
import { drawFigure } from "../../client/figures/figure.ts";
import { adapterPalette, printSizes, themes, type PrintSize } from "../../client/figures/theme.ts";
import type { AnyFigure, NamedArray, Place } from "../../probes/result.ts";
import { fontFaceRules, fontFiles, isBundled } from "./figureFonts.ts";

export interface FigureRendering {
  readonly theme: "light" | "dark";
  /** The page of a two-column paper when left out. */
  readonly size?: PrintSize | undefined;
  /** CSS pixels, 96 an inch, that it may take at most; those of its size when left out. */
  readonly width?: number | undefined;
  readonly metric?: string | undefined;
  readonly step?: number | undefined;
  readonly look?: string | undefined;
  readonly panel?: string | undefined;
  /** What is picked, and whether it is outlined. */
  readonly pins?: readonly Place[] | undefined;
  readonly marks?: boolean | undefined;
  /** In order: the first adapter gets the first colour. Those the figure names when left out. */
  readonly adapters?: readonly string[] | undefined;
  /** Kept inside the file: run id, command, version. */
  readonly metadata: Readonly<Record<string, string>>;
}

/** Standalone SVG with embedded fonts; title and subtitle are part of it. */
export function renderFigureSvg(figure: AnyFigure, arrays: Readonly<Record<string, NamedArray>>, options: FigureRendering): string {
  const theme = themes[options.theme];
  const size = printSizes[options.size ?? "page"];
  const document = new DOMParser().parseFromString('<svg xmlns="http://www.w3.org/2000/svg"></svg>', "image/svg+xml");
  const svg = document.documentElement as unknown as SVGSVGElement;
  const [first, ...others] = options.pins ?? [];
  drawFigure(svg, figure, arrays, {
    width: options.width ?? size.width,
    zoom: size.zoom,
    theme,
    preset: "print",
    metric: options.metric,
    step: options.step,
    look: options.look,
    panel: options.panel,
    selection: first ? { place: first, figure: figure.id } : null,
    pins: others,
    hidesMarks: options.marks === false,
    adapterColours: adapterPalette(options.adapters ?? adaptersOf(figure), theme),
  });
  const element = (name: string, text: string) => {
    const node = document.createElement(name);
    node.textContent = text;
    return node;
  };
  const metadata = element("metadata", JSON.stringify({ figure: figure.id, ...options.metadata }));
  const drawn = svg.toString();
  document.documentElement.prepend(element("title", figure.title), metadata, element("style", fontFaceRules(drawn)));
  return `<?xml version="1.0" encoding="UTF-8"?>\n${wellFormed(svg.toString())}\n`;
}

/** What XML has no place for, made visible: byte-level vocabularies have tokens of control characters. */
function wellFormed(xml: string): string {
  return xml
    .toWellFormed()
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, (letter) =>
      letter < " " ? String.fromCharCode(0x2400 + letter.charCodeAt(0)) : "\ufffd",
    );
}

/** The rasteriser knows the semibold files by a family name of their own, and unsmoothed images by SVG 1.1's word. */
const forRasteriser = (svg: string): string =>
  svg
    .replace(/<style>.*?<\/style>/s, "")
    .replaceAll('image-rendering="pixelated"', 'image-rendering="optimizeSpeed"')
    .replace(/<tspan ([^>]*font-weight="400")/g, '<tspan font-family="Inter" $1')
    .replace(/<text [^>]*font-weight="600"[^>]*>/g, (tag) =>
      tag.includes('font-family="JetBrains Mono')
        ? tag.replace('font-family="JetBrains Mono', 'font-family="JetBrains Mono SemiBold')
        : tag.replace("<text ", '<text font-family="Inter SemiBold" '),
    );

/** @param scale pixels of the PNG for each CSS pixel; 3 is 288 dots an inch */
export function renderFigurePng(svg: string, scale: number): Uint8Array {
  const text = svg.replace(/<style>.*?<\/style>|<metadata>.*?<\/metadata>/gs, "").replace(/href="data:[^"]*"/g, "");
  return new Resvg(forRasteriser(svg), {
    fitTo: { mode: "zoom", value: scale },
    font: {
      fontFiles: fontFiles(),
      loadSystemFonts: !isBundled(text),
      defaultFontFamily: "Inter",
      sansSerifFamily: "Inter",
      monospaceFamily: "JetBrains Mono",
    },
  })
    .render()
    .asPng();
}
