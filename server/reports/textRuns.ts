/** A text element of a drawing as what is set where: runs of one font, one size and one colour. */
import { textWidth } from "../../client/figures/textWidth.ts";
import { fontRuns, type Family, type FontFile, type Weight } from "./figureFonts.ts";

export interface TextRun {
  readonly text: string;
  /** Null where no bundled font has the characters. */
  readonly file: FontFile | null;
  readonly family: Family;
  readonly weight: Weight;
  /** Left end and baseline, before the element's own transform. */
  readonly x: number;
  readonly y: number;
  readonly size: number;
  readonly fill: string;
}

interface Style {
  readonly family: Family;
  readonly weight: Weight;
  readonly size: number;
  readonly fill: string;
}

const number = (node: Element, name: string): number | undefined => {
  const text = node.getAttribute(name);
  return text === null ? undefined : Number(text);
};

function styleOf(node: Element, outer: Style): Style {
  const [family, weight] = [node.getAttribute("font-family"), number(node, "font-weight")];
  return {
    family: family === null ? outer.family : family.startsWith("JetBrains") ? "mono" : "sans",
    weight: weight === undefined ? outer.weight : weight >= 600 ? 600 : 400,
    size: number(node, "font-size") ?? outer.size,
    fill: node.getAttribute("fill") ?? outer.fill,
  };
}

const widthOf = ({ text, file }: { text: string; file: FontFile | null }, { size, family, weight }: Style): number =>
  file === null
    ? textWidth(text, size, family === "mono" ? "mono" : weight === 600 ? "bold" : "sans")
    : (file.font.layout(text).advanceWidth / file.font.unitsPerEm) * size;

/** Left to right. */
export function textRuns(node: Element): TextRun[] {
  const runs: TextRun[] = [];
  const y = number(node, "y") ?? 0;
  let x = number(node, "x") ?? 0;
  const visit = (element: Element, outer: Style): void => {
    const style = styleOf(element, outer);
    if (element !== node) x += number(element, "dx") ?? 0;
    for (const child of element.childNodes) {
      if (child.nodeType === child.ELEMENT_NODE) visit(child as Element, style);
      else
        for (const run of fontRuns(child.textContent ?? "", style.family, style.weight)) {
          runs.push({ ...run, ...style, x, y });
          x += widthOf(run, style);
        }
    }
  };
  const from = x;
  visit(node, { family: "sans", weight: 400, size: 16, fill: "#000000" });
  const anchor = node.getAttribute("text-anchor");
  const shift = anchor === "end" ? from - x : anchor === "middle" ? (from - x) / 2 : 0;
  return runs.map((run) => ({ ...run, x: run.x + shift }));
}
