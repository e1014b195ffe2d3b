/** Every curve of a run as plain rows by step, for other programs: JSONL with an object a step, or CSV with a column a curve. */
import { slice, type ArrayRef, type ProbeResult } from "../../probes/result.ts";

export interface Scalars {
  /** Of the curves, in the order of the figures. */
  readonly names: readonly string[];
  /** Ascending in `step`; what a step has no number of is left out. */
  readonly rows: readonly { readonly step: number; readonly values: ReadonlyMap<string, number> }[];
}

/** Arrays along these axes are curves whether or not a figure shows them; each axis has its steps in an array. */
const stepsOfAxis: Readonly<Record<string, string>> = { point: "step", evaluation: "evaluation_step" };

/**
 * A curve is named as its array, and "array/series" where the array holds several: "loss", "effective_rank/blocks.0.attn.qkv".
 * What an array holds no number of yet is not there, nor is a loss that is NaN.
 */
export function runScalars(result: ProbeResult): Scalars {
  const names = new Set<string>();
  const rows = new Map<number, Map<string, number>>();
  const add = (name: string, x: ArrayRef, y: ArrayRef): void => {
    const [steps, values] = [slice(result.arrays, x).data, slice(result.arrays, y).data];
    if (steps.length !== values.length) return;
    names.add(name);
    steps.forEach((step, i) => {
      const value = values[i]!;
      if (Number.isNaN(step) || Number.isNaN(value)) return;
      const row = rows.get(step) ?? new Map<string, number>();
      row.set(name, value);
      rows.set(step, row);
    });
  };
  for (const [name, { axes }] of Object.entries(result.arrays)) {
    const steps = axes.length === 1 ? stepsOfAxis[axes[0]!] : undefined;
    if (steps !== undefined && steps !== name && result.arrays[steps]) add(name, { array: steps }, { array: name });
  }
  for (const figure of result.figures) {
    if (figure.kind !== "lines") continue;
    for (const { id, values, x } of figure.series)
      add(values.at || values.column !== undefined ? `${values.array}/${id}` : values.array, x ?? figure.x.values, values);
  }
  const sorted = [...rows].toSorted(([a], [b]) => a - b).map(([step, values]) => ({ step, values }));
  return { names: [...names], rows: sorted };
}

export function scalarsJsonl({ rows }: Scalars): string {
  return rows.map(({ step, values }) => `${JSON.stringify({ step, ...Object.fromEntries(values) })}\n`).join("");
}

export function scalarsCsv({ names, rows }: Scalars): string {
  const lines = rows.map(({ step, values }) => [step, ...names.map((name) => values.get(name) ?? "")].join(","));
  return [["step", ...names.map(csvCell)].join(","), ...lines, ""].join("\n");
}

export function csvCell(text: string): string {
  return /[",\n\r]/.test(text) ? `"${text.replaceAll(`"`, `""`)}"` : text;
}
