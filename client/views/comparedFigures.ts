/** Curves of several training runs over each other, and their settings and last numbers beside each other. */
import type { LinesFigure, NamedArray } from "../../probes/result.ts";
import { curvesOf } from "../figures/aboutFigure.ts";
import type { ComparedRun } from "../state/comparison.svelte.ts";
import { flattened, trainingName, type Changes } from "../state/trainingParams.ts";

export interface ComparedFigure {
  readonly figure: LinesFigure;
  readonly arrays: Readonly<Record<string, NamedArray>>;
}

/** Names to tell the runs apart by: their adapters', with the run's id where two are equal. */
export function runNames(runs: readonly ComparedRun[]): string[] {
  const plain = runs.map(({ record }) => trainingName(record.request.params));
  return plain.map((name, index) => (plain.filter((each) => each === name).length > 1 ? `${name} ${runs[index]!.record.id.slice(-4)}` : name));
}

const array = (data: Float32Array): NamedArray => ({ shape: [data.length], axes: ["point"], data });

export function comparedFigures(runs: readonly ComparedRun[]): ComparedFigure[] {
  const names = runNames(runs);
  const curves = runs.map(({ figures, arrays }) => figures.flatMap((figure) => curvesOf(figure, arrays)));
  const keys = [...new Set(curves.flatMap((each) => each.map(({ key }) => key)))];
  return keys.flatMap((key): ComparedFigure[] => {
    const found = curves.flatMap((each, index) => each.filter((curve) => curve.key === key).map((curve) => ({ curve, name: names[index]! })));
    const first = found[0]?.curve;
    if (!first || found.length < 2) return [];
    const arrays = Object.fromEntries(
      found.flatMap(({ curve, name }) => [
        [`${name}.x`, array(curve.x.values)],
        [`${name}.y`, array(curve.values)],
      ]),
    );
    const figure: LinesFigure = {
      kind: "lines",
      id: key,
      title: first.title,
      subtitle: first.subtitle,
      x: { ...first.x, values: { array: `${found[0]!.name}.x` } },
      y: first.y,
      series: found.map(({ name }) => ({ id: name, label: name, place: { adapter: name }, values: { array: `${name}.y` }, x: { array: `${name}.x` } })),
    };
    return [{ figure, arrays }];
  });
}

export interface ComparedRow {
  readonly label: string;
  /** What the number is, where the label is a sentence. */
  readonly note: string;
  readonly cells: readonly (string | number | null)[];
  readonly differs: boolean;
}

/** The last number of every compared curve. */
export function lastNumbers(compared: readonly ComparedFigure[], names: readonly string[]): ComparedRow[] {
  return compared.map(({ figure, arrays }) => {
    const cells = names.map((name) => arrays[`${name}.y`]?.data.findLast(Number.isFinite) ?? null);
    return {
      label: figure.title,
      note: [figure.y.label, figure.y.unit].filter((word) => word !== "" && !figure.title.toLowerCase().includes(word)).join(", "),
      cells,
      differs: false,
    };
  });
}

function plain(value: unknown): string | number | null {
  if (typeof value === "number" || typeof value === "string") return value;
  if (value === undefined || value === null || (Array.isArray(value) && value.length === 0)) return null;
  // Pinned prompts are told apart by their words.
  if (Array.isArray(value))
    return value.map((item: unknown) => (typeof item === "object" && item !== null && "prompt" in item ? String(item.prompt) : String(item))).join(", ");
  return JSON.stringify(value);
}

/** Every setting of every run, defaults filled in. */
export function comparedSettings(runs: readonly ComparedRun[], defaults: Changes, optionDefaults: (method: string) => Changes): ComparedRow[] {
  const all = runs.map(({ record }) => {
    const given = flattened(record.request.params);
    return { ...defaults, ...optionDefaults(String(given["method"] ?? defaults["method"])), ...given };
  });
  const paths = [...new Set(all.flatMap((settings) => Object.keys(settings)))].filter((path) => path !== "options");
  return paths.map((path) => {
    const cells = all.map((settings) => plain(settings[path]));
    return {
      label: path,
      note: "",
      cells: cells.map((cell) => (/path$/i.test(path) && typeof cell === "string" ? (cell.split(/[\\/]/).at(-1) ?? cell) : cell)),
      differs: new Set(cells).size > 1,
    };
  });
}
