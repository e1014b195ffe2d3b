/** What a pattern of Python's re means, as a tree. Letters are code points. */

/** Whether a letter of the text is meant. */
export type LetterTest = (letter: number) => boolean;

export type RegexTree =
  | { readonly kind: "sequence"; readonly parts: readonly RegexTree[] }
  | { readonly kind: "choice"; readonly ways: readonly RegexTree[] }
  | { readonly kind: "letter"; readonly test: LetterTest }
  /** An anchor or a word's edge: true of a place between letters. */
  | { readonly kind: "place"; readonly test: (text: readonly number[], at: number) => boolean }
  | { readonly kind: "repeat"; readonly body: RegexTree; readonly min: number; readonly max: number; readonly isLazy: boolean }
  | { readonly kind: "group"; readonly group: number; readonly body: RegexTree }
  /** The text of a group again. */
  | { readonly kind: "same"; readonly group: number; readonly width: Width; readonly isSame: (a: number, b: number) => boolean }
  /** `behind` letters before the place for lookbehind, 0 for lookahead. */
  | { readonly kind: "look"; readonly body: RegexTree; readonly behind: number; readonly isNegative: boolean }
  /** What matched is not tried in another way: (?>…), and possessive repeats. */
  | { readonly kind: "atomic"; readonly body: RegexTree }
  | { readonly kind: "if"; readonly group: number; readonly yes: RegexTree; readonly no: RegexTree };

/** The fewest and the most letters that a part can take. */
export type Width = readonly [least: number, most: number];

export function widthOf(tree: RegexTree): Width {
  switch (tree.kind) {
    case "letter":
      return [1, 1];
    case "place":
    case "look":
      return [0, 0];
    case "same":
      return tree.width;
    case "group":
    case "atomic":
      return widthOf(tree.body);
    case "sequence":
      return tree.parts.map(widthOf).reduce(([a, b], [c, d]) => [a + c, b + d], [0, 0]);
    case "choice":
      return widest(tree.ways.map(widthOf));
    case "if":
      return widest([widthOf(tree.yes), widthOf(tree.no)]);
    case "repeat": {
      const [least, most] = widthOf(tree.body);
      return [least * tree.min, most === 0 || tree.max === 0 ? 0 : most * tree.max];
    }
  }
}

function widest(widths: readonly Width[]): Width {
  return widths.reduce(([a, b], [c, d]) => [Math.min(a, c), Math.max(b, d)]);
}
