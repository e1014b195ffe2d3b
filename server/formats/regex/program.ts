/** A pattern's tree as steps, each of which knows the one after it. */
import type { LetterTest, RegexTree } from "./tree.ts";

/** Numbers that a match keeps and takes back when it tries another way: begin and end of each group (-1: none), counts and places of loops. */
export type Slot = number;

export interface Loop {
  readonly op: "loop";
  readonly min: number;
  readonly max: number;
  readonly isLazy: boolean;
  /** How often the body has matched; the place where the last try of one more began. */
  readonly count: Slot;
  readonly last: Slot;
  body: Step;
  readonly next: Step;
}

export type Step =
  | { readonly op: "accept" }
  | { readonly op: "letter"; readonly test: LetterTest; readonly next: Step }
  | { readonly op: "place"; readonly test: (text: readonly number[], at: number) => boolean; readonly next: Step }
  | { readonly op: "branch"; readonly ways: readonly Step[] }
  | { readonly op: "mark"; readonly slot: Slot; readonly next: Step }
  | { readonly op: "same"; readonly group: number; readonly isSame: (a: number, b: number) => boolean; readonly next: Step }
  | { readonly op: "look"; readonly body: Step; readonly behind: number; readonly isNegative: boolean; readonly next: Step }
  | { readonly op: "atomic"; readonly body: Step; readonly next: Step }
  | { readonly op: "if"; readonly group: number; readonly yes: Step; readonly no: Step }
  | { readonly op: "enter"; readonly loop: Loop }
  | Loop;

export const accept: Step = { op: "accept" };

/** @returns the first step, and how many slots a match needs */
export function compiled(tree: RegexTree, groupCount: number, end: Step): { start: Step; slots: number } {
  let slots = 2 * groupCount;
  const steps = (tree: RegexTree, next: Step): Step => {
    switch (tree.kind) {
      case "sequence":
        return tree.parts.reduceRight((after, part) => steps(part, after), next);
      case "choice":
        return { op: "branch", ways: tree.ways.map((way) => steps(way, next)) };
      case "letter":
        return { op: "letter", test: tree.test, next };
      case "place":
        return { op: "place", test: tree.test, next };
      case "group": {
        const body = steps(tree.body, { op: "mark", slot: 2 * tree.group + 1, next });
        return { op: "mark", slot: 2 * tree.group, next: body };
      }
      case "same":
        return { op: "same", group: tree.group, isSame: tree.isSame, next };
      case "look":
        return { op: "look", body: steps(tree.body, accept), behind: tree.behind, isNegative: tree.isNegative, next };
      case "atomic":
        return { op: "atomic", body: steps(tree.body, accept), next };
      case "if":
        return { op: "if", group: tree.group, yes: steps(tree.yes, next), no: steps(tree.no, next) };
      case "repeat": {
        const { min, max, isLazy } = tree;
        const loop: Loop = { op: "loop", min, max, isLazy, count: slots++, last: slots++, body: accept, next };
        loop.body = steps(tree.body, loop);
        return { op: "enter", loop };
      }
    }
  };
  return { start: steps(tree, end), slots };
}
