/** A figure's numbers for other programs: CSV for spreadsheets and pandas, JSON with axes, labels and units. */
import type { AnyFigure, ArrayRef, NamedArray } from "../../probes/result.ts";
import { slice } from "../../probes/result.ts";
import { figureRefs, figureTable } from "./aboutFigure.ts";
import type { Arrays } from "./context.ts";

/** Quoted where RFC 4180 asks for it; a pending number is an empty field. */
function field(value: string | number | null): string {
  if (value === null || (typeof value === "number" && Number.isNaN(value))) return "";
  const text = String(value);
  return /[",\r\n]/.test(text) || text !== text.trim() ? `"${text.replaceAll('"', '""')}"` : text;
}

/** One row a number in long form, with the tokens exactly as the tokenizer has them. @see RFC 4180 */
export function figureCsv(figure: AnyFigure, arrays: Arrays): string {
  const { columns, rows } = figureTable(figure, arrays);
  return [columns, ...rows].map((row) => `${row.map(field).join(",")}\r\n`).join("");
}

interface NumberBlock {
  readonly shape: readonly number[];
  readonly axes: readonly string[];
  /** Row-major; null while pending. */
  readonly data: readonly (number | null)[];
}

/** The figure with every pointer into the arrays replaced by the numbers themselves. */
export function figureJson(figure: AnyFigure, arrays: Arrays): Record<string, unknown> {
  const refs = new Map<unknown, ArrayRef>(figureRefs(figure).map(({ ref }) => [ref, ref]));
  if (figure.steps) refs.set(figure.steps, figure.steps);
  const filled = (value: unknown): unknown => {
    const ref = refs.get(value);
    if (ref) return arrays[ref.array] ? numberBlock(slice(arrays, ref)) : null;
    if (Array.isArray(value)) return value.map(filled);
    return typeof value === "object" && value !== null ? filledObject(value) : value;
  };
  const filledObject = (value: object): Record<string, unknown> => Object.fromEntries(Object.entries(value).map(([key, each]) => [key, filled(each)]));
  return filledObject(figure);
}

const numberBlock = ({ shape, axes, data }: NamedArray): NumberBlock => ({
  shape,
  axes,
  data: Array.from(data, (number) => (Number.isFinite(number) ? number : null)),
});
