/**
 * What a probe yields: a description (figures, checks, words) beside named arrays, streamed as small events.
 * Figures never hold numbers of their own, they point into the arrays; so the figure on screen, `arrays.safetensors`
 * and the exported file are the same numbers. NaN in an array means "not computed yet" (pending).
 */

/** Row-major float32 numbers with named axes. */
export interface NamedArray {
  readonly shape: readonly number[];
  /** One name an axis: "layer", "position", "head", "component"… */
  readonly axes: readonly string[];
  readonly data: Float32Array;
}

/**
 * A slice of an array: `at` fixes the leading axes, `column` the last one.
 * `{ array: "kl", at: [2] }` of `[panel, layer, position]` is `[layer, position]`; `{ array: "norm", column: 3 }` of `[snapshot, site]` is `[snapshot]`.
 */
export interface ArrayRef {
  readonly array: string;
  readonly at?: readonly number[];
  readonly column?: number;
}

/** Where in the network something is; a selection made in one figure marks the same place in all others. */
export interface Place {
  readonly layer?: number;
  /** Which layers are counted, where a model has several stacks of them: "encoder", "decoder". */
  readonly stack?: string;
  readonly position?: number;
  readonly head?: number;
  readonly site?: string;
  readonly adapter?: string;
  /** Singular component of ΔW at the site, 0 the largest. */
  readonly component?: number;
}

export interface Axis {
  readonly name: "layer" | "position" | "head" | "component" | "site";
  /** One label a row or column; token labels exactly as the tokenizer has them (spaces and newlines are shown by the figure). */
  readonly labels: readonly string[];
  /** What each row or column is of a place, as many as labels (`axes.ts` makes them). */
  readonly places: readonly Place[];
}

export interface Metric {
  readonly id: string;
  readonly label: string;
  readonly unit: string;
  readonly scale: "diverging" | "sequential";
  /** Fixed bounds where they carry meaning (normalised: −1…1); otherwise from the data. */
  readonly domain?: readonly [number, number];
}

/** What chance alone gives, shown beside every claim of importance. */
export interface NullBand {
  readonly metric: string;
  readonly low: number;
  readonly high: number;
  /** "95 % of random directions of equal norm" */
  readonly words: string;
}

interface FigureHead {
  readonly id: string;
  /** A finding only when the data clear the null by a stated margin, else a plain description. */
  readonly title: string;
  /** What was done and in what unit. */
  readonly subtitle: string;
  readonly nulls?: readonly NullBand[];
  /**
   * The training step of each stored snapshot, `[snapshot]`, NaN where not reached yet. With it, every array the figure's values point at
   * has `snapshot` as its leading axis, and a view shows one snapshot at a time; lines and ridgelines show all and mark it.
   */
  readonly steps?: ArrayRef;
}

/** A figure as a file may hold it: of a kind that this version need not know. */
export interface AnyFigure extends FigureHead {
  readonly kind: string;
}

/** Small multiples of cells; rows are drawn upward when the row axis is "layer". */
export interface HeatmapFigure extends FigureHead {
  readonly kind: "heatmap";
  readonly metrics: readonly Metric[];
  readonly panels: readonly {
    readonly id: string;
    readonly title: string;
    /** What all its cells have in common: the residual stream, an adapter. Panels without one differ in what was done, not in where. */
    readonly place?: Place;
    readonly rows: Axis;
    readonly cols: Axis;
    /** By metric id, each `[row, col]`. */
    readonly values: Readonly<Record<string, ArrayRef>>;
  }[];
}

/** Singular values per site: one series a site, `[component]`. */
export interface SpectrumFigure extends FigureHead {
  readonly kind: "spectrum";
  readonly unit: string;
  readonly series: readonly { readonly id: string; readonly label: string; readonly place: Place; readonly values: ArrayRef; readonly note?: string }[];
}

/** Bars in groups; each bar is a place. */
export interface BarsFigure extends FigureHead {
  readonly kind: "bars";
  readonly metrics: readonly Metric[];
  readonly bars: readonly { readonly label: string; readonly group: string; readonly place: Place }[];
  /** By metric id, each `[bar]`. */
  readonly values: Readonly<Record<string, ArrayRef>>;
}

/** Logit-lens grid: in each layer × position cell the top token, coloured by its probability. */
export interface TokenGridFigure extends FigureHead {
  readonly kind: "tokenGrid";
  readonly rows: Axis;
  readonly cols: Axis;
  readonly panels: readonly {
    readonly id: string;
    readonly title: string;
    readonly metric: Metric;
    /** Cell colour, `[row, col]`. */
    readonly values: ArrayRef;
    /** Top-k token ids and probabilities, both `[row, col, k]`. */
    readonly topIds: ArrayRef;
    readonly topValues: ArrayRef;
  }[];
  /** Text of every token id that occurs in `topIds`. */
  readonly tokens: Readonly<Record<number, string>>;
}

/** Attention patterns: `[layer, head, destination, source]` each. */
export interface AttentionFigure extends FigureHead {
  readonly kind: "attention";
  readonly tokens: readonly string[];
  readonly layers: number;
  readonly heads: number;
  readonly panels: readonly { readonly id: string; readonly title: string; readonly metric: Metric; readonly values: ArrayRef }[];
  /** How much each head differs between the panels, `[layer, head]`, for ordering thumbnails. */
  readonly order?: ArrayRef;
}

/** Rows of words and numbers. */
export interface TableFigure extends FigureHead {
  readonly kind: "table";
  readonly columns: readonly { readonly id: string; readonly label: string; readonly unit?: string; readonly numeric: boolean }[];
  readonly rows: readonly { readonly cells: Readonly<Record<string, string | number | null>>; readonly place?: Place; readonly warning?: string }[];
}

/** Curves over a number, such as the training step. */
export interface LinesFigure extends FigureHead {
  readonly kind: "lines";
  /** `[point]`; a curve ends where x or y is NaN. */
  readonly x: { readonly label: string; readonly unit: string; readonly values: ArrayRef };
  readonly y: { readonly label: string; readonly unit: string; readonly scale: "linear" | "log"; readonly domain?: readonly [number, number] };
  readonly series: readonly {
    readonly id: string;
    readonly label: string;
    readonly place: Place;
    /** `[point]` */
    readonly values: ArrayRef;
    /** Where this curve has x values of its own (evaluations are rarer than steps). `[point]` */
    readonly x?: ArrayRef;
    readonly note?: string;
  }[];
  /** Where something changed abruptly. */
  readonly markers?: readonly { readonly x: number; readonly label: string; readonly place: Place }[];
}

/** Spectra over time: a row a snapshot, `[snapshot, component]` in each panel. */
export interface RidgelineFigure extends FigureHead {
  readonly kind: "ridgeline";
  readonly unit: string;
  readonly steps: ArrayRef;
  readonly panels: readonly { readonly id: string; readonly title: string; readonly place: Place; readonly values: ArrayRef }[];
  readonly markers?: readonly { readonly x: number; readonly label: string; readonly place: Place }[];
}

export type Figure = LinesFigure | RidgelineFigure | HeatmapFigure | SpectrumFigure | BarsFigure | TokenGridFigure | AttentionFigure | TableFigure;
export type FigureKind = Figure["kind"];
export type FigureOf<K extends FigureKind> = Extract<Figure, { kind: K }>;

/** A self-check: a number that must hold if the result is to be believed. */
export interface Check {
  readonly name: string;
  readonly ok: boolean;
  readonly value: number;
  /** "0 within 1e-4", "every hook fired" */
  readonly expected: string;
}

export type ProbeEvent =
  | { readonly type: "progress"; readonly done: number; readonly total: number; readonly unit: string }
  | { readonly type: "array"; readonly name: string; readonly shape: readonly number[]; readonly axes: readonly string[] }
  /** Final numbers for a contiguous run of a declared array, starting at flat index `offset`. */
  | { readonly type: "tile"; readonly array: string; readonly offset: number; readonly data: Float32Array }
  /** Adds a figure, or replaces the one of the same id. */
  | { readonly type: "figure"; readonly figure: Figure }
  | { readonly type: "check"; readonly check: Check }
  /** One plain sentence for the top of the page. */
  | { readonly type: "finding"; readonly text: string }
  | { readonly type: "cost"; readonly worlds: number; readonly bytes: number };

export interface ProbeResult {
  readonly figures: readonly Figure[];
  readonly arrays: Readonly<Record<string, NamedArray>>;
  readonly checks: readonly Check[];
  readonly finding: string | null;
  readonly progress: { readonly done: number; readonly total: number; readonly unit: string } | null;
  readonly cost: { readonly worlds: number; readonly bytes: number } | null;
}

export const emptyResult: ProbeResult = { figures: [], arrays: {}, checks: [], finding: null, progress: null, cost: null };

/** Folds one event into a result; tiles are written in place into the array they belong to, everything else is new. */
export function applyEvent(result: ProbeResult, event: ProbeEvent): ProbeResult {
  switch (event.type) {
    case "progress":
      return { ...result, progress: { done: event.done, total: event.total, unit: event.unit } };
    case "array": {
      const data = new Float32Array(event.shape.reduce((n, dim) => n * dim, 1)).fill(NaN);
      return { ...result, arrays: { ...result.arrays, [event.name]: { shape: event.shape, axes: event.axes, data } } };
    }
    case "tile": {
      const target = result.arrays[event.array];
      if (!target) throw new Error(`internal: tile for array "${event.array}", which was not declared`);
      target.data.set(event.data, event.offset);
      return { ...result };
    }
    case "figure": {
      const others = result.figures.filter((figure) => figure.id !== event.figure.id);
      return {
        ...result,
        figures: others.length === result.figures.length ? [...others, event.figure] : result.figures.map((f) => (f.id === event.figure.id ? event.figure : f)),
      };
    }
    case "check":
      return { ...result, checks: [...result.checks.filter((check) => check.name !== event.check.name), event.check] };
    case "finding":
      return { ...result, finding: event.text };
    case "cost":
      return { ...result, cost: { worlds: event.worlds, bytes: event.bytes } };
    default:
      event satisfies never;
      return result;
  }
}

/** The numbers an ArrayRef points at, with the remaining shape: a view, or a copy when a column is picked out. */
export function slice(arrays: Readonly<Record<string, NamedArray>>, ref: ArrayRef): NamedArray {
  const array = arrays[ref.array];
  if (!array) throw new Error(`internal: figure points at array "${ref.array}", which was not declared`);
  const at = ref.at ?? [];
  const shape = array.shape.slice(at.length);
  const size = shape.reduce((n, dim) => n * dim, 1);
  let offset = 0;
  at.forEach((index, axis) => {
    offset += index * array.shape.slice(axis + 1).reduce((n, dim) => n * dim, 1);
  });
  const whole = { shape, axes: array.axes.slice(at.length), data: array.data.subarray(offset, offset + size) };
  if (ref.column === undefined) return whole;
  const width = shape.at(-1)!;
  const column = ref.column;
  return {
    shape: shape.slice(0, -1),
    axes: whole.axes.slice(0, -1),
    data: Float32Array.from({ length: size / width }, (_, row) => whole.data[row * width + column]!),
  };
}
