/** A table as the page shows it, row by row in an order that a reader chooses. */
import type { Place } from "../../probes/result.ts";

export interface HtmlCell {
  readonly text: string;
  readonly value: string | number | null;
}
export interface HtmlTable {
  readonly columns: readonly { readonly id: string; readonly label: string; readonly isNumeric: boolean }[];
  readonly rows: readonly { readonly cells: readonly HtmlCell[]; readonly place: Place | null; readonly warning: string | null }[];
}
export interface Sorting {
  readonly column: string;
  readonly isAscending: boolean;
}

const isNothing = (value: string | number | null | undefined): boolean => value === null || value === undefined || value === "" || Number.isNaN(value);

/** Rows without a value come last in either order, equal ones as they were; numbers inside names count as numbers ("L2" before "L10"). */
export function sortedRows({ columns, rows }: HtmlTable, sorting: Sorting | null): HtmlTable["rows"] {
  const at = columns.findIndex(({ id }) => id === sorting?.column);
  if (!sorting || at < 0) return rows;
  const sign = sorting.isAscending ? 1 : -1;
  return rows.toSorted((first, second) => {
    const [a, b] = [first.cells[at]?.value, second.cells[at]?.value];
    if (isNothing(a) || isNothing(b)) return Number(isNothing(a)) - Number(isNothing(b));
    return sign * (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
  });
}

/** Numbers begin with the largest, words with the first; then the other way round; then as the probe gave them. */
export function nextSorting({ id, isNumeric }: HtmlTable["columns"][number], now: Sorting | null): Sorting | null {
  if (now?.column !== id) return { column: id, isAscending: !isNumeric };
  return now.isAscending === isNumeric ? null : { column: id, isAscending: !now.isAscending };
}
