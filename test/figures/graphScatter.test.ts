/** Graphs and scatter plots: what is drawn of them, what is said of the rest, and how one walks through. */
import { describe, expect, test } from "vitest";
import { firstPlace, looksOf, neighbour, numbersAt, numbersBeside } from "../../client/figures/aboutFigure.ts";
import { figureCsv } from "../../client/figures/figureData.ts";
import { planGraph } from "../../client/figures/graphPlan.ts";
import { dark, light } from "../../client/figures/theme.ts";
import type { GraphFigure, ScatterFigure } from "../../probes/result.ts";
import { draw } from "./drawing.ts";
import { array, examples } from "./examples.ts";

const about = { title: "By hand", subtitle: "Four nodes" };
const metric = { id: "weight", label: "weight", unit: "share", scale: "diverging" } as const;
/** in → a, b (layer 0) → c (layer 0, reads b) → d (layer 1). */
const small: GraphFigure = {
  kind: "graph",
  id: "small",
  ...about,
  nodes: [
    { label: "in", place: { site: "embed" } },
    { label: "a", place: { layer: 0, head: 0 } },
    { label: "b", place: { layer: 0, head: 1, adapter: "facts-edit" } },
    { label: "c", place: { layer: 0, site: "mlp.in", component: 0 } },
    { label: "d", place: { layer: 1, head: 1 } },
  ],
  amounts: { metric: { ...metric, id: "amount", label: "amount" }, values: { array: "amounts" } },
  edges: [
    { from: 0, to: 1 },
    { from: 0, to: 2 },
    { from: 2, to: 3 },
    { from: 3, to: 4 },
    { from: 1, to: 4 },
  ],
  weights: { metric, values: { array: "weights" } },
};
const numbers = (weights: readonly number[], amounts: readonly number[] = [0.1, 0.2, 0.9, 0.4, 0.3]) => ({
  weights: array([weights.length], ["edge"], (edge) => weights[edge]!),
  amounts: array([amounts.length], ["node"], (node) => amounts[node]!),
});
const arrays = numbers([0.5, -0.8, 0.7, 0.3, 0]);

describe("a graph", () => {
  test("stands in rows from what only sends up through the layers; what reads inside a layer stands above what it reads", () => {
    const { rows } = planGraph(small, arrays, 10, undefined);
    expect(rows.map(({ layer, nodes }) => [layer, nodes.map((node) => small.nodes[node]!.label).join("")])).toEqual([
      [null, "in"],
      [0, "ab"],
      [0, "c"],
      [1, "d"],
    ]);
    const { all } = draw({ figure: small, arrays });
    const ys = all("circle.node").map((circle) => Number(circle.getAttribute("cy")));
    expect(ys[0]).toBeGreaterThan(ys[1]!);
    expect(ys[1]).toBe(ys[2]);
    expect(ys[3]).toBeLessThan(ys[2]!);
    expect(ys[4]).toBeLessThan(ys[3]!);
  });

  test("a circle of nodes inside a layer is drawn too", () => {
    const circle = {
      ...small,
      edges: [
        { from: 1, to: 2 },
        { from: 2, to: 1 },
        { from: 2, to: 2 },
      ],
    };
    expect(draw({ figure: circle, arrays: numbers([1, 1, 1]) }).all("path.edge")).toHaveLength(3);
  });

  test("has a line with a head for each edge that is not 0, the strongest widest and on top", () => {
    const { all } = draw({ figure: small, arrays });
    const widths = all("path.edge").map((edge) => Number(edge.getAttribute("stroke-width")));
    expect(widths).toHaveLength(4);
    expect(widths).toEqual(widths.toSorted((a, b) => a - b));
    expect(all("path.head")).toHaveLength(4);
  });

  test("draws the strongest edges of many, says how many and how strong, and more on request", () => {
    const { figure, arrays: many } = examples.graphDeep!;
    const drawn = (look?: string) => draw({ figure, arrays: many }, { look });
    const { all, texts } = drawn();
    expect(all("path.edge")).toHaveLength(40);
    expect(texts().join(" ")).toContain("The 40 strongest of 114,913 edges, of size 0.5 and more");
    const sizes = [...many.weight!.data].map(Math.abs).toSorted((a, b) => b - a);
    expect(sizes[39]!).toBeGreaterThanOrEqual(0.4995);
    expect(looksOf(figure, "120 edges", undefined)).toMatchObject({ choices: ["40 edges", "120 edges", "400 edges"], shown: "120 edges" });
    expect(drawn("120 edges").all("path.edge")).toHaveLength(120);
    expect(looksOf(small, undefined, undefined)).toBeNull();
  });

  test.each([1040, 860, 460, 317])("names of 48 layers never lie on each other at %i pixels", (width) => {
    const { all } = draw(examples.graphDeep!, { width });
    const boxes = all("g.nodes text").map((text) => ({
      x: Number(text.getAttribute("x")),
      y: Number(text.getAttribute("y")),
      width: text.textContent.length * 6.6,
    }));
    expect(boxes.length).toBeGreaterThan(20);
    for (const [index, a] of boxes.entries())
      for (const b of boxes.slice(index + 1))
        if (Math.abs(a.y - b.y) < 11) expect(a.x < b.x ? a.x + a.width - b.x : b.x + b.width - a.x).toBeLessThanOrEqual(0.5);
  });

  test("shows the selected node's own edges beside the strongest, and lets the others step back", () => {
    const { figure, arrays: many, selection } = examples.graph!;
    const { all, texts } = draw({ figure, arrays: many }, { selection: { place: selection!, figure: figure.id } });
    expect(all("path.edge.own").length).toBeGreaterThan(16);
    expect(all("path.edge")).toHaveLength(56);
    expect(texts().join(" ")).toContain("and 16 weaker ones of the selected node");
    expect(new Set(all("path.edge").map((edge) => edge.getAttribute("stroke-opacity")))).toEqual(new Set(["1", "0.25"]));
    expect(all("rect.selected")).toHaveLength(2);
  });

  test("of several nodes that a place may be, the one that says most of it is meant", () => {
    const place = { layer: 5, position: 4, head: 1 };
    const { figure, arrays: many } = examples.graphTokens!;
    expect(draw({ figure, arrays: many }, { selection: { place, figure: figure.id } }).all("rect.selected")).toHaveLength(2);
    expect(neighbour(figure, place, "ArrowRight", many)).toEqual({ layer: 5, position: 5, head: 4 });
  });

  test("is walked along its strongest edges up and down, and sideways through a row", () => {
    const b = small.nodes[2]!.place;
    expect(neighbour(small, b, "ArrowUp", arrays)).toEqual(small.nodes[3]!.place);
    expect(neighbour(small, b, "ArrowDown", arrays)).toEqual(small.nodes[0]!.place);
    expect(neighbour(small, b, "ArrowLeft", arrays)).toEqual(small.nodes[1]!.place);
    expect(neighbour(small, b, "ArrowRight", arrays)).toBeNull();
    expect(neighbour(small, { layer: 7 }, "ArrowUp", arrays)).toBeNull();
  });

  test("tells a node by its amount and its edges, and an edge by both ends and its weight", () => {
    const b = small.nodes[2]!.place;
    expect(firstPlace(small, arrays)).toEqual(b);
    expect(numbersAt(small, arrays, b, null)).toEqual([{ label: "amount", unit: "share", value: Math.fround(0.9) }]);
    expect(numbersBeside(small, arrays, b, null).numbers).toEqual([
      { label: "from in", value: Math.fround(-0.8) },
      { label: "to c", value: Math.fround(0.7) },
    ]);
    const { drawing, all } = draw({ figure: small, arrays });
    const [, , circle] = all("circle.node");
    expect(drawing.cellAt(Number(circle!.getAttribute("cx")), Number(circle!.getAttribute("cy")))?.lines).toEqual([
      { label: "amount, share", value: "0.9" },
      { label: "from in", value: "−0.8" },
      { label: "to c", value: "0.7" },
    ]);
    const labels = new Set<string>();
    for (let y = 0; y < drawing.height; y += 2) for (let x = 0; x < 860; x += 2) labels.add(drawing.cellAt(x, y)?.label ?? "");
    for (const edge of ["in → a", "in → b", "b → c", "c → d"]) expect(labels).toContain(edge);
  });

  test("says in words when there is nothing, nothing yet, or nothing other than 0", () => {
    const words = (figure: GraphFigure, values = arrays) => draw({ figure, arrays: values }).texts().join(" ");
    expect(words({ ...small, nodes: [], edges: [] })).toContain("There is nothing to join: the graph has no nodes.");
    expect(words(small, numbers([NaN, NaN, NaN, NaN, NaN]))).toContain("No edge is computed yet; 5 of 5 not computed yet.");
    expect(words(small, numbers([0, 0, 0, 0, 0]))).toContain("No edge has a weight other than 0.");
    expect(words(small, numbers([1, NaN, 0, 0, 0]))).toContain("The only edge; 1 of 5 not computed yet");
  });

  test("is a CSV of nodes and edges with their places and numbers", () => {
    const [head, ...rows] = figureCsv(small, arrays).trim().split("\r\n");
    expect(head).toBe("part,from,to,layer,position,head,site,component,adapter,value");
    expect(rows).toHaveLength(5 + 5);
    expect(rows[2]).toBe(`node,b,,0,,1,,,facts-edit,${Math.fround(0.9)}`);
    expect(rows[6]).toBe(`edge,in,b,0,,1,,,facts-edit,${Math.fround(-0.8)}`);
  });
});

/** Three points on a line and one apart. */
const dots: ScatterFigure = {
  kind: "scatter",
  id: "dots",
  ...about,
  x: { label: "norm", unit: "Frobenius", scale: "linear", values: { array: "x" } },
  y: { label: "rank", unit: "", scale: "linear", values: { array: "y" } },
  groupedBy: "kind",
  points: ["q", "q", "v", "v"].map((group, layer) => ({ label: `L${layer}.${group}`, group, place: { layer, site: `blocks.${layer}.${group}` } })),
};
const at = (xs: readonly number[], ys: readonly number[]) => ({ x: array([4], ["point"], (i) => xs[i]!), y: array([4], ["point"], (i) => ys[i]!) });
const spread = at([0, 1, 2, 10], [0, 5, 10, 2]);

describe("a scatter plot", () => {
  test("has a mark for each point in its group's colour, axes with their units, and a legend", () => {
    const { all, texts } = draw({ figure: dots, arrays: spread });
    const points = all("path.point");
    expect(points.map((point) => point.getAttribute("fill"))).toEqual([light.categorical[0], light.categorical[0], light.categorical[1], light.categorical[1]]);
    const [x, y] = [0, 1].map((axis) => points.map((point) => Number(/translate\((.*) (.*)\)/.exec(point.getAttribute("transform")!)![axis + 1])));
    expect(x).toEqual(x!.toSorted((a, b) => a - b));
    expect(y![2]).toBeLessThan(y![1]!);
    expect(texts()).toEqual(expect.arrayContaining(["norm, Frobenius", "rank", "kind", "q", "v", "L3.v"]));
    expect(draw({ figure: dots, arrays: spread }, { theme: dark }).all("path.point")[0]!.getAttribute("fill")).toBe(dark.categorical[0]);
  });

  test("an adapter keeps its colour, and more groups than colours differ in shape", () => {
    const groups = ["polite", "b", "c", "d", "e", "f", "g", "h"];
    const figure = { ...dots, points: groups.map((group, layer) => ({ label: group, group, place: { layer } })) };
    const arrays = { x: array([8], ["point"], (i) => i), y: array([8], ["point"], (i) => i) };
    const points = draw({ figure, arrays }).all("path.point");
    expect(points[0]!.getAttribute("fill")).toBe(light.categorical[1]);
    expect(new Set(points.map((point) => `${point.getAttribute("fill")} ${point.getAttribute("d")}`)).size).toBe(8);
  });

  test("says what is pending and what a logarithmic axis has no place for", () => {
    const { texts, all } = draw({ figure: { ...dots, x: { ...dots.x, scale: "log" } }, arrays: at([0, 1, NaN, 10], [1, 2, 3, 4]) });
    expect(all("path.point")).toHaveLength(2);
    expect(texts()).toContain("1 of 4 points not computed yet");
    expect(texts()).toContain("1 of 4 points is not drawn: a logarithmic axis has no place for 0 and less");
    expect(draw({ figure: dots, arrays: {} }).texts()).toContain("No point is computed yet.");
    expect(draw({ figure: { ...dots, points: [] }, arrays: { x: array([0], ["point"], () => 0), y: array([0], ["point"], () => 0) } }).texts()).toContain(
      "There is no point to show.",
    );
  });

  test("shades what chance gives along an axis and says so", () => {
    const { all, texts } = draw({ figure: { ...dots, nulls: [{ metric: "y", low: 1, high: 3, words: "95 % of random sites" }] }, arrays: spread });
    expect(all("rect.band")).toHaveLength(1);
    expect(texts()).toContain("rank, shaded: 95 % of random sites, 1 to 3");
  });

  test("names a point with both numbers under the pointer, and how many lie on it", () => {
    const { drawing, all } = draw({ figure: dots, arrays: at([0, 0, 5, 10], [0, 0, 5, 2]) });
    const [, px, py] = /translate\((.*) (.*)\)/.exec(all("path.point")[0]!.getAttribute("transform")!)!;
    const hover = drawing.cellAt(Number(px) + 2, Number(py));
    expect(hover?.label).toBe("L0.q");
    expect(hover?.lines).toEqual([
      { label: "rank", value: "0" },
      { label: "norm, Frobenius", value: "0" },
      { label: "kind", value: "q" },
      { label: "at the same spot", value: "1 more" },
    ]);
  });

  test("labels never lie on a point or on each other", () => {
    const { all } = draw(examples.scatter!);
    const labels = all("svg > g > text").filter((text) => /^L\d+\./.test(text.textContent));
    expect(labels.length).toBeGreaterThan(5);
    const boxes = labels.map((text) => {
      const [x, width] = [Number(text.getAttribute("x")), text.textContent.length * 6.6];
      return { left: text.getAttribute("text-anchor") === "end" ? x - width : x, width, y: Number(text.getAttribute("y")) };
    });
    for (const [index, a] of boxes.entries())
      for (const b of boxes.slice(index + 1)) if (Math.abs(a.y - b.y) < 11) expect(a.left + a.width <= b.left || b.left + b.width <= a.left).toBe(true);
  });

  test("arrow keys lead to the nearest point in their direction", () => {
    const [a, b, c, apart] = dots.points.map(({ place }) => place);
    expect(neighbour(dots, a!, "ArrowRight", spread)).toEqual(b);
    expect(neighbour(dots, b!, "ArrowUp", spread)).toEqual(c);
    expect(neighbour(dots, b!, "ArrowLeft", spread)).toEqual(a);
    expect(neighbour(dots, apart!, "ArrowRight", spread)).toBeNull();
    expect(firstPlace(dots, spread)).toEqual(c);
    expect(numbersAt(dots, spread, c!, null)).toEqual([{ label: "rank", unit: "", value: 10 }]);
    expect(numbersBeside(dots, spread, c!, null).numbers).toEqual([{ label: "norm, Frobenius", value: 2 }]);
  });

  test("is a CSV of points with groups, places and both numbers", () => {
    const [head, , , third] = figureCsv(dots, spread).trim().split("\r\n");
    expect(head).toBe("point,group,layer,position,head,site,component,adapter,norm,rank");
    expect(third).toBe("L2.v,v,2,,,blocks.2.v,,,2,10");
  });
});
