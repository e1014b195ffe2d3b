/** Columns of a table, each by the id of its cells and its label. */
import type { TableFigure } from "../result.ts";

type Columns = TableFigure["columns"];

export const wordColumns = (labels: Readonly<Record<string, string>>): Columns => columns(labels, false);
export const numberColumns = (labels: Readonly<Record<string, string>>): Columns => columns(labels, true);

function columns(labels: Readonly<Record<string, string>>, numeric: boolean): Columns {
  return Object.entries(labels).map(([id, label]) => ({ id, label, numeric }));
}
