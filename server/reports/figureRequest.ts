/** What is asked when a figure becomes a file. */
import type { Figure, NamedArray } from "../../probes/result.ts";

export const figureFormats = ["svg", "png", "json", "csv"] as const;
export type FigureFormat = (typeof figureFormats)[number];
export interface FigureRequest {
  readonly figure: Figure;
  readonly arrays: Readonly<Record<string, NamedArray>>;
  readonly format: FigureFormat;
  readonly theme: "light" | "dark";
  readonly width?: number;
  readonly metric?: string;
  /** The subject's adapters in order, so that each keeps the colour it has on screen. */
  readonly adapters?: readonly string[];
  /** Kept inside the file: the command that recomputes it. */
  readonly metadata: string;
}
export interface FigureFile {
  readonly contentType: string;
  readonly body: string | Uint8Array;
}
