/** What is asked when a figure becomes a file. */
import type { PrintSize } from "../../client/figures/theme.ts";
import type { AnyFigure, NamedArray, Place } from "../../probes/result.ts";

export { printSizeNames } from "../../client/figures/theme.ts";
export const figureFormats = ["svg", "png", "pdf", "json", "csv"] as const;
export type FigureFormat = (typeof figureFormats)[number];
export interface FigureRequest {
  readonly figure: AnyFigure;
  readonly arrays: Readonly<Record<string, NamedArray>>;
  readonly format: FigureFormat;
  readonly theme: "light" | "dark";
  /** What it is made for: a page of a two-column paper when left out. */
  readonly size?: PrintSize;
  /** CSS pixels that the drawing may take at most; those of its size when left out. */
  readonly width?: number;
  readonly metric?: string;
  /** Training step that a figure over steps is drawn at, and marked in curves; the last one when left out. */
  readonly step?: number;
  /** How it is drawn where it leaves a choice: "ridges" or "heat", "linear" or "log". */
  readonly look?: string;
  /** The panel that is drawn alone. */
  readonly panel?: string;
  /** What is picked: the first chooses the attention figure's head. */
  readonly pins?: readonly Place[];
  /** Whether what is picked is outlined; it is when left out. */
  readonly marks?: boolean;
  /** The subject's adapters in order, so that each keeps the colour it has on screen. */
  readonly adapters?: readonly string[];
  /** Kept inside the file: the command that recomputes it. */
  readonly metadata: string;
}
export interface FigureFile {
  readonly contentType: string;
  readonly body: string | Uint8Array;
}
