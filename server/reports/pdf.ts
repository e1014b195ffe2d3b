/** A drawing as a PDF of one page, vector throughout: what figures draw with, and no more of SVG. */
import { Buffer } from "node:buffer";
import { rgb } from "d3-color";
import PDFDocument from "pdfkit";
import { systemOutlines } from "./systemOutlines.ts";
import { textRuns } from "./textRuns.ts";

/** 72 points an inch, 96 CSS pixels. */
const pointsPerPixel = 0.75;
/** Attributes that children have from their group. */
const inherited = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-linejoin", "fill-opacity", "stroke-opacity"] as const;
type Paint = Readonly<Partial<Record<(typeof inherited)[number], string>>>;
type Doc = InstanceType<typeof PDFDocument>;

/** @param svg a drawing by figure modules, `width` in inches */
export function pdfOf(svg: Element, about: { readonly title: string; readonly subject: string }): Promise<Uint8Array> {
  const [, , width = 0, height = 0] = (svg.getAttribute("viewBox") ?? "").split(" ").map(Number);
  const points = Number.parseFloat(svg.getAttribute("width") ?? "0") * 72;
  const scale = width > 0 ? points / width : pointsPerPixel;
  // No date: the same figure makes the same file.
  const info = { Title: about.title, Subject: about.subject, Creator: "Deltascope", CreationDate: new Date(0) };
  const doc = new PDFDocument({ size: [points, height * scale], margin: 0, info, displayTitle: true, lang: "en" });
  const parts: Buffer[] = [];
  const done = new Promise<Uint8Array>((resolve, reject) => {
    doc.on("data", (part: Buffer) => parts.push(part));
    doc.on("end", () => resolve(Buffer.concat(parts)));
    doc.on("error", reject);
  });
  doc.scale(scale);
  new Drawing(doc, svg).children(svg, { fill: "#000000", stroke: "none" });
  doc.end();
  return done;
}

const number = (node: Element, name: string): number => Number(node.getAttribute(name) ?? 0);

/** Scales write colours as rgb(…). */
const hex = (colour: string | null | undefined): string => rgb(colour ?? "#000000").formatHex();

class Drawing {
  readonly #doc: Doc;
  readonly #byId: ReadonlyMap<string, Element>;

  constructor(doc: Doc, svg: Element) {
    this.#doc = doc;
    this.#byId = new Map([...svg.querySelectorAll("[id]")].map((node) => [node.id, node]));
  }

  children(node: Element, outer: Paint): void {
    for (const child of node.children) this.#node(child, outer);
  }

  #node(node: Element, outer: Paint): void {
    if (node.getAttribute("display") === "none") return;
    const own = inherited.flatMap((name) => (node.hasAttribute(name) ? [[name, node.getAttribute(name) ?? ""] as const] : []));
    const paint: Paint = { ...outer, ...Object.fromEntries(own) };
    this.#doc.save();
    this.#transform(node.getAttribute("transform") ?? "");
    this.#draw(node, paint);
    this.#doc.restore();
  }

  #transform(text: string): void {
    for (const [, name, values] of text.matchAll(/(\w+)\(([^)]*)\)/g)) {
      const [a = 0, b, c] = (values ?? "").split(/[\s,]+/).map(Number);
      if (name === "translate") this.#doc.translate(a, b ?? 0);
      else if (name === "scale") this.#doc.transform(a, 0, 0, b ?? a, 0, 0);
      else if (name === "rotate") this.#doc.rotate(a, { origin: [b ?? 0, c ?? 0] });
      else throw new Error(`internal: a figure has the transform ${name}, which its PDF cannot have`);
    }
  }

  #draw(node: Element, paint: Paint): void {
    const doc = this.#doc;
    switch (node.localName) {
      case "g":
        return this.children(node, paint);
      case "rect": {
        const box = [number(node, "x"), number(node, "y"), number(node, "width"), number(node, "height")] as const;
        if (box[2] > 0 && box[3] > 0) this.#paint(() => doc.rect(...box), paint, box);
        return;
      }
      case "circle":
        return this.#paint(() => doc.circle(number(node, "cx"), number(node, "cy"), number(node, "r")), paint);
      case "path": {
        const path = node.getAttribute("d") ?? "";
        if (path !== "") this.#paint(() => doc.path(path), paint);
        return;
      }
      case "image": {
        const data = Buffer.from((node.getAttribute("href") ?? "").replace(/^data:image\/png;base64,/, ""), "base64");
        doc.image(data, number(node, "x"), number(node, "y"), { width: number(node, "width"), height: number(node, "height") });
        return;
      }
      case "text":
        return this.#text(node, paint);
      case "defs":
      case "title":
        return;
      default:
        throw new Error(`internal: a figure has the element ${node.localName}, which its PDF cannot have`);
    }
  }

  #paint(outline: () => void, paint: Paint, box?: readonly [number, number, number, number]): void {
    const doc = this.#doc;
    const { fill = "none", stroke = "none" } = paint;
    doc.fillOpacity(Number(paint["fill-opacity"] ?? 1)).strokeOpacity(Number(paint["stroke-opacity"] ?? 1));
    const server = /^url\(#(.*)\)$/.exec(fill)?.[1];
    if (server !== undefined) this.#fillFrom(server, outline, box);
    else if (fill !== "none") {
      outline();
      doc.fill(hex(fill));
    }
    if (stroke === "none") return;
    this.#pen(paint);
    outline();
    doc.stroke(hex(stroke));
  }

  #pen(paint: Paint): void {
    const doc = this.#doc;
    const dashes = (paint["stroke-dasharray"] ?? "none").split(/[\s,]+/).map(Number);
    doc.lineWidth(Number(paint["stroke-width"] ?? 1)).lineJoin(paint["stroke-linejoin"] === "round" ? "round" : "miter");
    const [dash, space] = dashes;
    if (dash !== undefined && dash > 0) doc.dash(dash, { space: space ?? dash });
    else doc.undash();
  }

  /** From a gradient along the box, or hatched. */
  #fillFrom(id: string, outline: () => void, box: readonly [number, number, number, number] | undefined): void {
    const doc = this.#doc;
    const server = this.#byId.get(id);
    if (!server || !box) throw new Error(`internal: a figure fills with #${id}, which is not there, or what is no rectangle`);
    const [x, y, width, height] = box;
    if (server.localName === "linearGradient") {
      const gradient = doc.linearGradient(x, y, x + width, y);
      for (const stop of server.children) gradient.stop(number(stop, "offset"), hex(stop.getAttribute("stop-color")));
      outline();
      doc.fill(gradient);
      return;
    }
    const [ground, line] = server.children;
    const pitch = number(server, "width") * Math.SQRT2;
    outline();
    doc.clip();
    doc.rect(x, y, width, height).fill(hex(ground?.getAttribute("fill")));
    // Lines of slope −1, all of one lattice so that neighbouring cells join.
    for (let sum = Math.floor((x + y) / pitch) * pitch; sum < x + y + width + height + pitch; sum += pitch)
      doc.moveTo(sum - y, y).lineTo(sum - y - height, y + height);
    doc.lineWidth(line ? number(line, "width") : 1).stroke(hex(line?.getAttribute("fill")));
  }

  #text(node: Element, paint: Paint): void {
    const doc = this.#doc;
    const runs = textRuns(node);
    const ring = node.getAttribute("stroke");
    for (const isRing of ring === null ? [false] : [true, false])
      for (const run of runs) {
        const { text, file, x, y, size, fill } = run;
        if (isRing) {
          this.#pen({ ...paint, "stroke-linejoin": "round" });
          doc.strokeColor(hex(ring ?? fill));
        } else doc.fillColor(hex(fill));
        if (file === null)
          for (const path of systemOutlines(run)) {
            doc.path(path);
            if (isRing) doc.stroke();
            else doc.fill();
          }
        else {
          doc.registerFont(file.name, file.bytes);
          doc.font(file.name).fontSize(size).text(text, x, y, { lineBreak: false, baseline: "alphabetic", fill: !isRing, stroke: isRing });
        }
      }
  }
}
