/** Curves of several training runs over each other, and their settings and last numbers beside each other. */
import type { LinesFigure, NamedArray } from "../../probes/result.ts";
import { slice } from "../../probes/result.ts";
import type { ComparedRun } from "../state/comparison.svelte.ts";
import { trainingName } from "../../server/jobKinds/train.ts";
import { flattened, type Changes } from "../state/trainingParams.ts";

export interface ComparedFigure {
  readonly figure: LinesFigure;
  readonly arrays: Readonly<Record<string, NamedArray>>;
}

/** Names to tell the runs apart by: their adapters', with the run's id where two are equal. */
export function runNames(runs: readonly ComparedRun[]): string[] {
  const plain = runs.map(({ record }) => trainingName(record.request.params));
  return plain.map((name, index) => (plain.filter((each) => each === name).length > 1 ? `${name} ${runs[index]!.record.id.slice(-4)}` : name));
}

interface Curve {
  readonly figure: LinesFigure;
  /** What is drawn: one of the figure's curves, or the mean over its sites. */
  readonly key: string;
  readonly title: string;
  readonly subtitle: string;
  readonly x: Float32Array;
  readonly y: Float32Array;
}

/** A figure of one curve a site is compared by its mean over the sites; one without places curve by curve, smoothed ones instead of raw. */
function curvesOf({ figures, arrays }: ComparedRun): Curve[] {
  return figures.flatMap((figure): Curve[] => {
    if (figure.kind !== "lines") return [];
    const read = (series: LinesFigure["series"][number]) => {
      const x = series.x ?? figure.x.values;
      return arrays[x.array] && arrays[series.values.array] ? { x: slice(arrays, x).data, y: slice(arrays, series.values).data } : null;
    };
    const bySite = figure.series.filter(({ place }) => place.site !== undefined);
    if (bySite.length > 0) {
      const all = bySite.flatMap((series) => read(series) ?? []);
      const x = all[0]?.x;
      if (!x) return [];
      const mean = Float32Array.from(x, (_, index) => all.reduce((sum, { y }) => sum + (y[index] ?? NaN), 0) / all.length);
      return [{ figure, key: figure.id, title: figure.title, subtitle: `Mean over ${all.length} sites · ${figure.subtitle}`, x, y: mean }];
    }
    const ids = new Set(figure.series.map(({ id }) => id));
    const shown = figure.series.filter(({ id }) => !ids.has(`${id}_smoothed`));
    return shown.flatMap((series): Curve[] => {
      const numbers = read(series);
      return numbers
        ? [
            {
              figure,
              key: `${figure.id}.${series.id}`,
              title: shown.length > 1 ? `${figure.title}, ${series.label}` : figure.title,
              subtitle: figure.subtitle,
              ...numbers,
            },
          ]
        : [];
    });
  });
}

const array = (data: Float32Array): NamedArray => ({ shape: [data.length], axes: ["point"], data });

export function comparedFigures(runs: readonly ComparedRun[]): ComparedFigure[] {
  const names = runNames(runs);
  const curves = runs.map(curvesOf);
  const keys = [...new Set(curves.flatMap((each) => each.map(({ key }) => key)))];
  return keys.flatMap((key): ComparedFigure[] => {
    const found = curves.flatMap((each, index) => each.filter((curve) => curve.key === key).map((curve) => ({ curve, name: names[index]! })));
    const first = found[0]?.curve;
    if (!first || found.length < 2) return [];
    const arrays = Object.fromEntries(
      found.flatMap(({ curve, name }) => [
        [`${name}.x`, array(curve.x)],
        [`${name}.y`, array(curve.y)],
      ]),
    );
    const figure: LinesFigure = {
      kind: "lines",
      id: key,
      title: first.title,
      subtitle: first.subtitle,
      x: { ...first.figure.x, values: { array: `${found[0]!.name}.x` } },
      y: first.figure.y,
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
