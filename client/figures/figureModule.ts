/**
 * What a figure kind knows about itself: all that the page, the exports and the command line ask of it.
 * A kind is an interface in `probes/result.ts`, a module like this, and a line in `modules.ts`. What is optional says itself what is taken in its place.
 */
import type { AnyFigure, ArrayRef, FigureKind, FigureOf, Metric, Place } from "../../probes/result.ts";
import type { ArrowKey, Arrays, Drawn, FigureTable, Frame, Group } from "./context.ts";
import type { Marker } from "./markers.ts";

/** Of the shape that a reference must have, null for what may be any. */
export type ChangeRef = (ref: ArrayRef, shape: readonly (number | null)[]) => ArrayRef;

export interface LabelledNumber {
  readonly label: string;
  readonly value: number;
}

/** Ways to draw a figure where it leaves a choice. */
export interface Looks {
  readonly choices: readonly string[];
  readonly shown: string;
  /** What the choice is about, where it is a small one: then it is one quiet switch and not a row of buttons. */
  readonly hint?: string;
}

/** Tokens that a figure reads at a place, with their numbers. */
export interface Reading {
  readonly id: string;
  readonly title: string;
  readonly tokens: readonly { readonly text: string; readonly value: number }[];
}

/** One curve to lay over the same one of another run. */
export interface Curve {
  /** What is drawn; the same in runs that can be compared. */
  readonly key: string;
  readonly title: string;
  readonly subtitle: string;
  readonly x: { readonly label: string; readonly unit: string; readonly values: Float32Array };
  readonly y: { readonly label: string; readonly unit: string; readonly scale: "linear" | "log"; readonly domain?: readonly [number, number] };
  readonly values: Float32Array;
}

export interface FigureModule<F extends AnyFigure> {
  /** @param top y where it may begin */
  draw(root: Group, figure: F, frame: Frame, top: number): Drawn;
  neighbour(figure: F, place: Place, key: ArrowKey, arrays: Arrays): Place | null;
  /**
   * NaN while pending, null where the figure has no number for the place.
   * @param step where the figure runs over steps: the last number up to it, else the newest
   */
  valueAt(figure: F, arrays: Arrays, metric: string | undefined, place: Place, step?: number): number | null;
  table(figure: F, arrays: Arrays): FigureTable;
  /** The figure with each of its pointers into the arrays changed; what it points at, and at one snapshot, follow from it. */
  refs(figure: F, change: ChangeRef): F;
  /** Where the pin goes when there is none. */
  firstPlace(figure: F, arrays: Arrays): Place | null;

  /** Its `steps` are an axis that it draws itself; else a figure with steps is drawn at one of them. */
  readonly showsAllSteps?: true;
  /** Metrics it can be drawn by; none. */
  metrics?(figure: F): readonly Metric[];
  /** What its number at a place is, where no metric says so; the figure's title. @param when "newest", "at step 40" */
  numberWords?(figure: F, place: Place, when: string): { readonly label: string; readonly unit: string };
  /** The part of the figure that a place is in: "Residual stream"; the kind of site, or the figure's title. */
  partWords?(figure: F, place: Place): string | null;
  /** The numbers at the same place in its other panels; none. */
  beside?(figure: F, arrays: Arrays, place: Place, metric: string | undefined): readonly LabelledNumber[];
  /** All its numbers of a layer, for a place that says no more; none. */
  inLayer?(figure: F, arrays: Arrays, layer: Place & { readonly layer: number }, metric: string | undefined): readonly LabelledNumber[];
  /** Ways to draw it; one. */
  looks?(figure: F, asked: string | undefined, panel: string | undefined): Looks | null;
  /** Panels that can be drawn alone; none. */
  panels?(figure: F): readonly { readonly id: string; readonly title: string }[];
  /** The tokens that its positions are; none. */
  tokens?(figure: F): readonly string[];
  /** The adapters it names, in their order, each of which gets a colour; none. */
  adapters?(figure: F): readonly string[];
  /** Where something changed, for the step slider; nowhere. */
  markers?(figure: F): readonly Marker[];
  /** What it reads at a place, in tokens; nothing. */
  readings?(figure: F, arrays: Arrays, place: Place): readonly Reading[];
  /** What of it can be laid over other runs'; nothing. */
  curves?(figure: F, arrays: Arrays): readonly Curve[];
  /** Whether it is small enough to stand beside another; no. */
  isNarrow?(figure: F): boolean;
}

export type FigureModules = { readonly [K in FigureKind]: FigureModule<FigureOf<K>> };

/** Distinct adapters, in the order in which the places name them. */
export const adaptersOfPlaces = (places: readonly Place[]): string[] => [...new Set(places.flatMap(({ adapter }) => adapter ?? []))];
