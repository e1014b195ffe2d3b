/**
 * How much of a prompt the worlds of a sweep share with the run patched into. What is replaced at a token changes nothing before it, as
 * attention looks back only: a world can go on after the tokens before its first change, from the keys and values that those left.
 *
 * Rows of one batch go on from one place. Few batches waste tokens, many cost programs and read every weight again; the cut is where
 * the operations that all of it takes, waits counted as operations, are fewest.
 */
import { at } from "../at.ts";
import { inputsOf } from "../models/plan.ts";
import { hookPlace } from "./hookNames.ts";
import type { Runner } from "./runner.ts";
import { tilesOf, tokensPerTile, type Tile } from "./tiles.ts";
import { positionAxes, type ModelConfig } from "../models/family.ts";
import type { WorldEdit } from "./worlds.ts";

/** Rows that go on after the same number of tokens. */
export interface LaterTile extends Tile<number> {
  readonly after: number;
}

/** What a batch costs beside its tokens. */
export interface TileCosts {
  /** Tokens as which reading a layer's weights counts. */
  readonly weightsAsTokens: number;
  /** A call of a program, and making one, in operations of matrix products: about 250 a nanosecond on two cores. */
  readonly callOperations: number;
  readonly compileOperations: number;
}
const usualCosts: TileCosts = { weightsAsTokens: 40, callOperations: 1e8, compileOperations: 6e9 };
/** Groups of more worlds are cut into batches as they come. */
const mostWeighed = 2048;

/** Whether every segment from `start` on can go on after a beginning. */
export function canGoOn({ model: { plan, family } }: Runner, start: number): boolean {
  const stacks = new Set(plan.map(({ stack }) => stack));
  return (
    stacks.size === 1 && Object.keys(inputsOf(family)).length === 1 && plan.slice(start).every((each) => each.resumes === true || each.isPositionwise === true)
  );
}

/** Tokens before the first that the edits change; 0 where one of them has no token of its own. */
export function tokensBefore(runner: Runner, edits: readonly WorldEdit[], position: number): number {
  const firsts = edits.map(({ hook, position: place }) => {
    const axes: readonly string[] = hookPlace(runner.hooks, hook).axes;
    const isAlongTokens = axes[1] === "pos" && axes.filter((axis) => positionAxes.some((each) => each === axis)).length === 1;
    return place === null || !isAlongTokens ? 0 : place;
  });
  return edits.length === 0 ? 0 : Math.min(position, ...firsts);
}

/** What the members of one group share. */
export interface Cut {
  readonly config: Pick<ModelConfig, "dModel" | "dMlp" | "nHeads" | "nKvHeads" | "dHead">;
  /** Tokens of the prompt. */
  readonly length: number;
  /** Tokens before a member's first change. */
  readonly after: (member: number) => number;
  /** Groups that will run programs of the same shapes. */
  readonly sharing: number;
  readonly costs?: TileCosts | undefined;
}

/** The cheapest cut found: every member in one tile, no tile longer than `tokensPerTile` but where it has one row. */
export function laterTiles(members: readonly number[], { config, length, after, sharing, costs = usualCosts }: Cut): LaterTile[] {
  const whole = tilesOf(members, length).map((tile): LaterTile => ({ ...tile, after: 0 }));
  if (members.length > mostWeighed || members.every((member) => after(member) === 0)) return whole;
  const { dModel, dMlp, nHeads, nKvHeads, dHead } = config;
  const perToken = 2 * dModel * (2 * dHead * (nHeads + nKvHeads) + 3 * dMlp);
  const compiling = costs.compileOperations / Math.max(1, sharing);
  const running = (rows: number, from: number): number => perToken * (costs.weightsAsTokens + rows * (length - from)) + costs.callOperations;
  // Latest first: a batch goes on from the earliest of its rows, its last.
  const sorted = members.toSorted((a, b) => after(b) - after(a));
  const best = [{ cost: 0, begin: 0 }];
  for (let end = 1; end <= sorted.length; end++) {
    const from = after(at(sorted, end - 1));
    const most = Math.max(1, Math.floor(tokensPerTile / (length - from)));
    let found = { cost: Infinity, begin: end - 1 };
    for (let begin = Math.max(0, end - most); begin < end; begin++) {
      const sum = at(best, begin).cost + running(end - begin, from) + compiling;
      if (sum < found.cost) found = { cost: sum, begin };
    }
    best.push(found);
  }
  // Whole rows are all of one shape, so that one program serves them.
  if (whole.reduce((sum, { rows }) => sum + running(rows, 0), compiling) <= at(best, -1).cost) return whole;
  const tiles: LaterTile[] = [];
  for (let end = sorted.length; end > 0; end = at(best, end).begin) {
    const rows = sorted.slice(at(best, end).begin, end);
    tiles.push({ members: rows, rows: rows.length, after: after(at(rows, -1)) });
  }
  return tiles;
}
