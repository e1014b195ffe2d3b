/** The step slider: which stored look at a training run all figures show, and the figures as they were then. */
import { figureAtSnapshot, slice, type ArrayRef, type Figure } from "../../probes/result.ts";
import { runs } from "./runs.svelte.ts";

class StepsState {
  /** The step that was chosen; null follows the newest. */
  chosen = $state<number | null>(null);
  /** How figures are drawn, and which of their panels alone, where they leave a choice. */
  looks = $state.raw<Readonly<Record<string, string>>>({});
  panels = $state.raw<Readonly<Record<string, string>>>({});

  /** Every step that some figure has a snapshot of, ascending. */
  readonly reached: readonly number[] = $derived.by(() => {
    const all = new Set(runs.result.figures.flatMap((figure) => stepsOf(figure)));
    return [...all].toSorted((a, b) => a - b);
  });
  readonly newest: number | null = $derived(this.reached.at(-1) ?? null);
  /** The reached step that is on screen. */
  readonly shown: number | null = $derived.by(() => {
    const { chosen } = this;
    return chosen === null ? this.newest : (this.reached.findLast((step) => step <= chosen) ?? this.reached[0] ?? null);
  });
  /** The figures of the run with their values at the step on screen. */
  readonly figures: readonly Figure[] = $derived(runs.result.figures.map((figure) => at(figure, this.shown)));

  /** The step that a figure's numbers are of, where that is not the one on screen. */
  earlierStep(id: string): number | null {
    const figure = runs.result.figures.find((each) => each.id === id);
    if (!figure?.steps || valueRefs(figure).length === 0 || this.shown === null || !runs.result.arrays[figure.steps.array]) return null;
    const step = slice(runs.result.arrays, figure.steps).data[snapshotOf(figure, this.shown)];
    return step === undefined || step === this.shown || !Number.isFinite(step) ? null : step;
  }

  choose(step: number): void {
    this.chosen = step;
  }

  follow(): void {
    this.chosen = null;
  }

  /** @param by how many snapshots to move; beyond the newest follows it again */
  move(by: number): void {
    const index = this.reached.indexOf(this.shown ?? NaN) + by;
    if (index >= this.reached.length) this.chosen = null;
    else if (index >= 0) this.chosen = this.reached[index] ?? null;
  }

  setLook(figure: string, look: string): void {
    this.looks = { ...this.looks, [figure]: look };
  }

  setPanel(figure: string, panel: string | null): void {
    const { [figure]: _dropped, ...others } = this.panels;
    this.panels = panel === null ? others : { ...others, [figure]: panel };
  }

  clear(): void {
    this.chosen = null;
    this.looks = {};
    this.panels = {};
  }
}

function stepsOf(figure: Figure): number[] {
  if (!figure.steps || !runs.result.arrays[figure.steps.array]) return [];
  return [...slice(runs.result.arrays, figure.steps).data].filter(Number.isFinite);
}

/** The last snapshot up to the step at which the figure has a number: not every look measures everything. */
function snapshotOf(figure: Figure, step: number | null): number {
  if (!figure.steps || step === null || !runs.result.arrays[figure.steps.array]) return 0;
  const reached = slice(runs.result.arrays, figure.steps).data;
  const last = reached.findLastIndex((each) => each <= step);
  for (let index = last; index >= 0; index--) if (hasNumbers(figure, index)) return index;
  return Math.max(0, last);
}

const hasNumbers = (figure: Figure, index: number): boolean =>
  valueRefs(figure).some(({ array, at = [] }) => runs.result.arrays[array] && slice(runs.result.arrays, { array, at: [index, ...at] }).data.some(Number.isFinite));

/** Where the figure's numbers are, all snapshots of them. */
function valueRefs(figure: Figure): readonly ArrayRef[] {
  switch (figure.kind) {
    case "heatmap":
      return figure.panels.flatMap(({ values }) => Object.values(values));
    case "bars":
      return Object.values(figure.values);
    case "spectrum":
      return figure.series.map(({ values }) => values);
    case "tokenGrid":
    case "attention":
      return figure.panels.map(({ values }) => values);
    default:
      return [];
  }
}

const at = (figure: Figure, step: number | null): Figure => (figure.steps ? figureAtSnapshot(figure, snapshotOf(figure, step)) : figure);

export const steps = new StepsState();
