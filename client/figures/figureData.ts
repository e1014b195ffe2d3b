/** A figure's numbers for other programs: CSV for spreadsheets and pandas, JSON with axes, labels and units. */
import type { ArrayRef, Figure } from "../../probes/result.ts";
import { slice } from "../../probes/result.ts";
import type { Arrays } from "./context.ts";
import { figureTable } from "./figure.ts";

/** Quoted where RFC 4180 asks for it; a pending number is an empty field. */
function field(value: string | number | null): string {
  if (value === null || (typeof value === "number" && Number.isNaN(value))) return "";
  const text = String(value);
  return /[",\r\n]/.test(text) || text !== text.trim() ? `"${text.replaceAll('"', '""')}"` : text;
}

/** One row a number in long form, with the tokens exactly as the tokenizer has them. @see RFC 4180 */
export function figureCsv(figure: Figure, arrays: Arrays): string {
  const { columns, rows } = figureTable(figure, arrays);
  return [columns, ...rows].map((row) => `${row.map(field).join(",")}\r\n`).join("");
}

const isRef = (value: unknown): value is ArrayRef =>
  typeof value === "object" &&
  value !== null &&
  "array" in value &&
  typeof value.array === "string" &&
  Object.keys(value).every((key) => key === "array" || key === "at");

interface NumberBlock {
  readonly shape: readonly number[];
  readonly axes: readonly string[];
  /** Row-major; null while pending. */
  readonly data: readonly (number | null)[];
}

/** The figure with every pointer into the arrays replaced by the numbers themselves. */
export function figureJson(figure: Figure, arrays: Arrays): Record<string, unknown> {
  const filled = (value: unknown): unknown => {
    if (isRef(value)) {
      if (!arrays[value.array]) return null;
      const { shape, axes, data } = slice(arrays, value);
      return { shape, axes, data: Array.from(data, (number) => (Number.isFinite(number) ? number : null)) } satisfies NumberBlock;
    }
    if (Array.isArray(value)) return value.map(filled);
    if (typeof value === "object" && value !== null) return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, filled(each)]));
    return value;
  };
  return filled(figure) as Record<string, unknown>;
}
