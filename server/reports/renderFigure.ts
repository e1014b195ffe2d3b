/** A figure as an SVG, PNG or PDF file, drawn by the same module as on screen. */
import { Resvg } from "@resvg/resvg-js";
import { DOMParser } from "linkedom";
import { adaptersOf } from "../../client/figures/aboutFigure.ts";
import { drawFigure } from "../../client/figures/figure.ts";
import { adapterPalette, printSizes, themes, type PrintSize } from "../../client/figures/theme.ts";
import type { AnyFigure, NamedArray, Place } from "../../probes/result.ts";
import { outlineTexts } from "./outlines.ts";
import { pdfOf } from "./pdf.ts";

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

/** The drawing with title and subtitle, its text still text. */
function drawn(figure: AnyFigure, arrays: Readonly<Record<string, NamedArray>>, options: FigureRendering): SVGSVGElement {
  const theme = themes[options.theme];
  const size = printSizes[options.size ?? "page"];
  const svg = new DOMParser().parseFromString('<svg xmlns="http://www.w3.org/2000/svg"></svg>', "image/svg+xml").documentElement as unknown as SVGSVGElement;
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
  return svg;
}

const aboutFile = (figure: AnyFigure, { metadata }: FigureRendering): string => JSON.stringify({ figure: figure.id, ...metadata });

/** Standalone SVG, its text as outlines. */
export function renderFigureSvg(figure: AnyFigure, arrays: Readonly<Record<string, NamedArray>>, options: FigureRendering): string {
  const svg = drawn(figure, arrays, options);
  outlineTexts(svg);
  const element = (name: string, text: string) => {
    const node = svg.ownerDocument.createElementNS("http://www.w3.org/2000/svg", name);
    node.textContent = text;
    return node;
  };
  svg.prepend(element("title", figure.title), element("metadata", aboutFile(figure, options)));
  return `<?xml version="1.0" encoding="UTF-8"?>\n${wellFormed(svg.toString())}\n`;
}

/** PDF of one page that is the drawing, with its fonts, text that can be selected, and what the SVG has as metadata. */
export const renderFigurePdf = (figure: AnyFigure, arrays: Readonly<Record<string, NamedArray>>, options: FigureRendering): Promise<Uint8Array> =>
  pdfOf(drawn(figure, arrays, options), { title: wellFormed(figure.title), subject: wellFormed(aboutFile(figure, options)) });

/** What XML has no place for, made visible: byte-level vocabularies have tokens of control characters. */
function wellFormed(xml: string): string {
  return xml
    .toWellFormed()
    .replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, (letter) =>
      letter < " " ? String.fromCharCode(0x2400 + letter.charCodeAt(0)) : "\ufffd",
    );
}

/** @param scale pixels of the PNG for each CSS pixel; 3 is 288 dots an inch */
export function renderFigurePng(svg: string, scale: number): Uint8Array {
  // The rasteriser knows unsmoothed images by SVG 1.1's word.
  return new Resvg(svg.replaceAll('image-rendering="pixelated"', 'image-rendering="optimizeSpeed"'), {
    fitTo: { mode: "zoom", value: scale },
    font: { loadSystemFonts: false },
  })
    .render()
    .asPng();
}
