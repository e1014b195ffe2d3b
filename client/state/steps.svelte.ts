/** The step slider: which stored look at a training run all figures show, and the figures as they were then. */
import { slice, type AnyFigure } from "../../probes/result.ts";
import { figureAtStep, stepOfNumbers } from "../figures/snapshots.ts";
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
  readonly figures: readonly AnyFigure[] = $derived(runs.result.figures.map((figure) => figureAtStep(figure, runs.result.arrays, this.shown)));

  /** The step that a figure's numbers are of, where that is not the one on screen. */
  earlierStep(id: string): number | null {
    const figure = runs.result.figures.find((each) => each.id === id);
    const step = figure && this.shown !== null ? stepOfNumbers(figure, runs.result.arrays, this.shown) : null;
    return step === this.shown ? null : step;
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

function stepsOf(figure: AnyFigure): number[] {
  if (!figure.steps || !runs.result.arrays[figure.steps.array]) return [];
  return [...slice(runs.result.arrays, figure.steps).data].filter(Number.isFinite);
}

export const steps = new StepsState();
