/** Batches of about one size out of many rows: matrix products stay large, and not much is held at once. */
import { at } from "../at.ts";

/** Of a batch, with padding; a longer prompt is a batch of its own. */
export const tokensPerTile = 512;

export interface Tile<Row> {
  readonly members: readonly Row[];
  /** Rows of the batch; the last tile repeats a member to fill it, so that one program serves all. */
  readonly rows: number;
}

/** Rows of every tile. @param positions tokens of a row */
export function rowsPerTile(members: number, positions: number): number {
  return Math.ceil(members / tileCount(members, positions));
}

export function tilesOf<Row>(members: readonly Row[], positions: number): Tile<Row>[] {
  const rows = rowsPerTile(members.length, positions);
  return Array.from({ length: tileCount(members.length, positions) }, (_, i) => ({ members: members.slice(i * rows, (i + 1) * rows), rows }));
}

/** The members of a tile, the last of them repeated. */
export function filled<Row>({ members, rows }: Tile<Row>): Row[] {
  return Array.from({ length: rows }, (_, row) => at(members, Math.min(row, members.length - 1)));
}

const tileCount = (members: number, positions: number): number => Math.ceil(members / Math.max(1, Math.floor(tokensPerTile / positions)));
