/** What the drawing of every figure kind takes and gives. */
import type { Selection } from "d3-selection";
import type { NamedArray, Place } from "../../probes/result.ts";
import type { Preset, Theme, Type } from "./theme.ts";

export type Arrays = Readonly<Record<string, NamedArray>>;
export type Group = Selection<SVGGElement, unknown, null, undefined>;

export interface Hover {
  readonly place: Place;
  /** Names everything: panel, layer, site, token with its index. */
  readonly label: string;
  /** NaN while pending. */
  readonly value: number;
  readonly lines: readonly { readonly label: string; readonly value: string }[];
  /** Where the figure runs over training steps: the step of what lies there. */
  readonly step?: number;
  /** Middle of the cell's upper edge, in the figure's own pixels. */
  readonly x: number;
  readonly y: number;
}

export interface FigureContext {
  readonly width: number;
  readonly theme: Theme;
  readonly preset: Preset;
  /** By how much a printed drawing is enlarged; 1 when left out. */
  readonly zoom?: number;
  /** Which of the figure's metrics is drawn; its first when left out. */
  readonly metric?: string | undefined;
  /** The step slider's place, marked by figures over steps. */
  readonly step?: number | undefined;
  /** How the figure is drawn where it leaves a choice: "ridges" or "heat", "linear" or "log". */
  readonly look?: string | undefined;
  /** The panel that is drawn alone, where a figure has more than fit. */
  readonly panel?: string | undefined;
  readonly selection?: { readonly place: Place; readonly figure: string } | null;
  readonly pins?: readonly Place[];
  /** What is picked chooses what is drawn, but is not outlined. */
  readonly hidesMarks?: boolean;
  readonly adapterColours: Readonly<Record<string, string>>;
  readonly onHover?: ((hover: Hover | null) => void) | undefined;
  /** `extend` with Shift held: compare with what is already picked. */
  readonly onPick?: ((place: Place, extend: boolean) => void) | undefined;
  readonly onStep?: ((step: number) => void) | undefined;
}

export interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}
export interface Cell extends Omit<Hover, "x" | "y"> {
  readonly box: Box;
}
/** Where a place is drawn: `cell` is the place itself, `band` a row or column that it lies in. */
export interface Mark {
  readonly box: Box;
  readonly strength: "cell" | "band";
}

/** What is left of a drawing for pointing at it. */
export interface Drawn {
  readonly height: number;
  /** Where the drawing ends, legends and words aside: paper is cut there. All of the width when left out. */
  readonly right?: number;
  readonly cellAt: (x: number, y: number) => Cell | null;
  readonly marks: (place: Place) => readonly Mark[];
}

export interface Frame extends FigureContext {
  readonly type: Type;
  readonly arrays: Arrays;
  /** For ids of patterns and gradients, unique in the document. */
  readonly scope: string;
}

/** Numbers beside their labels, for CSV and JSON. */
export interface FigureTable {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly (string | number | null)[])[];
}

export const arrowKeys = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"] as const;
export type ArrowKey = (typeof arrowKeys)[number];
/** Columns to the right and rows upward that an arrow key moves. */
export const arrowStep: Readonly<Record<ArrowKey, { readonly right: number; readonly up: number }>> = {
  ArrowLeft: { right: -1, up: 0 },
  ArrowRight: { right: 1, up: 0 },
  ArrowUp: { right: 0, up: 1 },
  ArrowDown: { right: 0, up: -1 },
};
