/**
 * Text as outlines, so that every renderer shows the same letters, whatever fonts it has or reads.
 * A letter is drawn once and used wherever it stands; what each text says is its label.
 */
import { round } from "../../client/figures/text.ts";
import { systemOutlines } from "./systemOutlines.ts";
import { textRuns, type TextRun } from "./textRuns.ts";

/** A name and its remark, apart. */
const labelOf = (node: Element): string => [...node.childNodes].map(({ textContent }) => textContent ?? "").join(" ");

/** Replaces every text of a drawing. */
export function outlineTexts(svg: Element): void {
  const { ownerDocument: document } = svg;
  const glyphs = new Map<string, string>();
  const element = (name: string, attributes: Readonly<Record<string, string | null>>, children: readonly Element[] = []): Element => {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) if (value !== null) node.setAttribute(key, value);
    node.append(...children);
    return node;
  };

  const outlined = (run: TextRun): Element => {
    const { file, text, size, x, y, fill } = run;
    if (file === null)
      return element(
        "g",
        { fill },
        systemOutlines(run).map((d) => element("path", { d })),
      );
    const { glyphs: letters, positions } = file.font.layout(text);
    let advance = 0;
    const uses = letters.flatMap((glyph, index) => {
      const at = positions[index];
      const left = advance + (at?.xOffset ?? 0);
      advance += at?.xAdvance ?? glyph.advanceWidth;
      const path = glyph.path.toSVG();
      if (path === "") return [];
      const id = `${file.name}-${glyph.id}`;
      glyphs.set(id, path);
      return element("use", { href: `#${id}`, x: left === 0 ? null : String(round(left)) });
    });
    const scale = size / file.font.unitsPerEm;
    return element(
      "g",
      { fill, transform: `translate(${round(x)} ${round(y)}) scale(${Number(scale.toPrecision(6))} ${-Number(scale.toPrecision(6))})` },
      uses,
    );
  };

  for (const node of [...svg.querySelectorAll("text")]) {
    const runs = textRuns(node);
    const stroke = node.getAttribute("stroke");
    // A ring of the page's colour lies under its letters; not every renderer knows paint-order, so it is drawn before them.
    const ring =
      stroke === null ? [] : runs.map((run) => ringOf(outlined({ ...run, fill: "none" }), stroke, Number(node.getAttribute("stroke-width") ?? 1), run));
    node.replaceWith(
      element("g", { class: "text", role: "img", "aria-label": labelOf(node), transform: node.getAttribute("transform") }, [...ring, ...runs.map(outlined)]),
    );
  }
  svg.prepend(
    element(
      "defs",
      {},
      [...glyphs].map(([id, d]) => element("path", { id, d })),
    ),
  );
}

function ringOf(group: Element, stroke: string, width: number, { file, size }: TextRun): Element {
  const scale = file === null ? 1 : size / file.font.unitsPerEm;
  group.setAttribute("stroke", stroke);
  group.setAttribute("stroke-width", String(round(width / scale)));
  group.setAttribute("stroke-linejoin", "round");
  return group;
}
