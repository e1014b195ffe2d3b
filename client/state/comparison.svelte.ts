/** Training runs side by side: their curves over each other, their settings and last numbers beside each other. */
import { arraysOf, call } from "../api.ts";
import { endpoints } from "../../server/endpoints.ts";
import type { AnyFigure, NamedArray } from "../../probes/result.ts";
import type { RunRecord } from "../../server/wire.ts";

export interface ComparedRun {
  readonly record: RunRecord;
  readonly figures: readonly AnyFigure[];
  readonly arrays: Readonly<Record<string, NamedArray>>;
}

class ComparisonState {
  /** On screen; empty when none are compared. */
  ids = $state.raw<readonly string[]>([]);
  /** Ticked in the list, not compared yet. */
  ticked = $state.raw<readonly string[]>([]);

  toggle(id: string): void {
    this.ticked = this.ticked.includes(id) ? this.ticked.filter((each) => each !== id) : [...this.ticked, id];
  }

  clear(): void {
    this.ids = [];
  }

  load(ids: readonly string[]): Promise<ComparedRun[]> {
    return Promise.all(
      ids.map(async (id) => {
        const { record, figures, arrays } = await call(endpoints.run, { id });
        return { record, figures, arrays: await arraysOf(id, arrays) };
      }),
    );
  }
}
export const comparison = new ComparisonState();
