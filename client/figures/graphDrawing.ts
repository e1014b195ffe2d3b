/** A graph in layers, upward: nodes in slots of their rows, edges as curves with a head at what they go to. */
import { format } from "d3-format";
import type { GraphFigure, Metric } from "../../probes/result.ts";
import type { Box, Cell, Drawn, Frame, Group, Mark } from "./context.ts";
import { countOf, nodeOf, planGraph, strongestEdges, type GraphPlan, type PlannedEdge } from "./graphPlan.ts";
import { formatValue, indexedToken } from "./labels.ts";
import { drawLegend } from "./legend.ts";
import { colourScale, type ColourScale } from "./scales.ts";
import { baselineShift, drawText, round } from "./text.ts";
import { fitMiddle, textWidth, wrapText } from "./textWidth.ts";

interface Point {
  readonly x: number;
  readonly y: number;
}
interface PlacedNode extends Point {
  readonly radius: number;
  /** Its name as far as there is room for it. */
  readonly words: string;
}
interface Layout {
  readonly plan: GraphPlan;
  readonly nodes: ReadonlyMap<number, PlacedNode>;
  readonly left: number;
  readonly rowTops: readonly number[];
  readonly pitch: number;
  readonly bottom: number;
}

/** Once a layer, at its lowest row. */
function rowWords({ rows }: GraphPlan, index: number): string {
  const layer = rows[index]?.layer ?? null;
  if (layer === null) return index === 0 ? "in" : "out";
  return rows[index - 1]?.layer === layer ? "" : `layer ${layer}`;
}

/** A name is no longer than this, so that its node stays near the middle of its slot. */
const longestName = 420;

/** Every node has a slot of its row, which it and its name fill from the left where columns are tokens, else from the middle. */
function layOut(figure: GraphFigure, frame: Frame, plan: GraphPlan, top: number): Layout {
  const { axis: size } = frame.type;
  const isPrint = frame.preset === "print";
  const left = Math.max(0, ...plan.rows.map((_, index) => textWidth(rowWords(plan, index), size))) + 14;
  const pitch = Math.max(size + 5, Math.min(isPrint ? 26 : 40, (isPrint ? 260 : 520) / Math.max(1, plan.rows.length)));
  const bottom = top + 6 + plan.rows.length * pitch;
  const width = frame.width - left;
  const positionOf = (node: number): number => figure.nodes[node]?.place.position ?? -1;
  const columns = [...new Set(plan.rows.flatMap(({ nodes }) => nodes.map(positionOf)))].toSorted((a, b) => a - b);
  const hasColumns = columns.some((position) => position >= 0);
  const radius = radiusOf(plan, frame);
  const nodes = new Map<number, PlacedNode>();
  plan.rows.forEach((row, index) => {
    const y = bottom - (index + 0.5) * pitch;
    const groups = hasColumns ? columns.map((position) => row.nodes.filter((node) => positionOf(node) === position)) : [row.nodes];
    groups.forEach((group, column) => {
      const slot = width / groups.length / group.length;
      group.forEach((node, at) => {
        const r = radius(node);
        const words = fitMiddle(figure.nodes[node]?.label ?? "", Math.min(longestName, slot - 2 * r - 10), size, "mono");
        const taken = 2 * r + 3 + textWidth(words, size, "mono");
        const from = left + (width / groups.length) * column + slot * at;
        nodes.set(node, { x: from + (hasColumns ? 8 : Math.max(2, (slot - taken) / 2) + r), y, radius: r, words });
      });
    });
  });
  return { plan, nodes, left, rowTops: plan.rows.map((_, row) => bottom - (row + 1) * pitch), pitch, bottom };
}

/** From a node up to another; between nodes above each other it bows aside, so that it passes those between. */
function curve(from: Point, to: Point, pitch: number): readonly [Point, Point, Point, Point] {
  const rows = Math.abs(from.y - to.y) / pitch;
  const bow = Math.abs(from.x - to.x) < 16 && rows > 1.5 ? Math.min(90, 10 * rows) : 0;
  const reach = from.y === to.y ? -pitch * 0.6 : (to.y - from.y) * 0.45;
  return [from, { x: from.x + bow, y: from.y + reach }, { x: to.x + bow, y: from.y === to.y ? to.y + reach : to.y - reach }, to];
}

const along = ([a, b, c, d]: readonly [Point, Point, Point, Point], t: number): Point => {
  const s = 1 - t;
  const mix = (key: "x" | "y"): number => s ** 3 * a[key] + 3 * s * s * t * b[key] + 3 * s * t * t * c[key] + t ** 3 * d[key];
  return { x: mix("x"), y: mix("y") };
};

const radiusOf = (plan: GraphPlan, frame: Frame): ((node: number) => number) => {
  const most = plan.amounts.reduce((all, amount) => (Number.isFinite(amount) ? Math.max(all, Math.abs(amount)) : all), 0);
  const [small, large] = frame.preset === "print" ? [1.6, 4] : [2.5, 6.5];
  // Areas are what is compared.
  return (node) => small + (large - small) * (most > 0 && Number.isFinite(plan.amounts[node]) ? Math.sqrt(Math.abs(plan.amounts[node] ?? 0) / most) : 0);
};

export function drawGraph(root: Group, figure: GraphFigure, frame: Frame, top: number): Drawn {
  const { axis: size } = frame.type;
  const selected = frame.selection?.place;
  const plan = planGraph(figure, frame.arrays, countOf(frame.look), selected);
  const layout = layOut(figure, frame, plan, top);
  const scale = colourScale(figure.weights.metric, [plan.weights.filter(Number.isFinite)], frame.theme);
  plan.rows.forEach((_, index) => {
    const middle = layout.bottom - (index + 0.5) * layout.pitch;
    drawText(root, frame, rowWords(plan, index), layout.left - 14, middle + baselineShift(size), { anchor: "end", fill: frame.theme.muted });
    root
      .append("path")
      .attr("d", `M${round(layout.left - 8)},${round(middle)}H${round(frame.width)}`)
      .attr("stroke", frame.theme.rule)
      .attr("stroke-width", frame.type.thin)
      .attr("stroke-dasharray", "1 5");
  });
  const own = nodeOf(figure, selected);
  drawEdges(root, figure, frame, layout, scale, own);
  drawNodes(root, figure, frame, layout, own);
  let y = layout.bottom + 4;
  if (figure.tokens) y += drawTokens(root, figure, frame, layout, y);
  for (const words of wrapText(shownWords(figure, plan), frame.width, size)) {
    drawText(root, frame, words, 0, y + size + 2, { fill: frame.theme.muted });
    y += size + 5;
  }
  y +=
    8 +
    drawLegend(
      root,
      frame,
      scale,
      0,
      y + 8,
      "edges, from below upward",
      figure.nulls?.find(({ metric }) => metric === figure.weights.metric.id),
    );
  return pointing(figure, frame, layout, y);
}

const counted = format(",d");

function shownWords(figure: GraphFigure, { known, pending, edges, strongest, least, rows }: GraphPlan): string {
  if (figure.nodes.length === 0) return "There is nothing to join: the graph has no nodes.";
  const computing = pending > 0 ? `; ${counted(pending)} of ${counted(figure.edges.length)} not computed yet` : "";
  if (known === 0) return pending > 0 ? `No edge is computed yet${computing}.` : "No edge has a weight other than 0.";
  const own = edges.length > strongest ? `, and ${edges.length - strongest} weaker ones of the selected node` : "";
  const some =
    strongest < known
      ? `The ${counted(strongest)} strongest of ${counted(known)} edges, of size ${formatValue(least)} and more${own}`
      : known === 1
        ? "The only edge"
        : `All ${counted(known)} edges`;
  const hidden = figure.nodes.length - rows.reduce((sum, { nodes }) => sum + nodes.length, 0);
  return `${some}${computing} · circles: ${figure.amounts.metric.label} by area${
    hidden > 0 ? `; ${counted(hidden)} of ${counted(figure.nodes.length)} ` + `nodes have none of these edges` : ""
  }`;
}

function drawEdges(root: Group, figure: GraphFigure, frame: Frame, { plan, nodes, pitch }: Layout, scale: ColourScale, own: number): void {
  const group = root.append("g").attr("class", "edges").attr("fill", "none");
  const most = Math.max(...plan.edges.map(({ weight }) => Math.abs(weight)));
  const thick = frame.preset === "print" ? 2 : 3.5;
  for (const { from, to, weight } of plan.edges) {
    const [start, end] = [nodes.get(from), nodes.get(to)];
    if (!start || !end) continue;
    const isOwn = from === own || to === own;
    const width = 0.6 + (thick - 0.6) * (Math.abs(weight) / most);
    const line = curve(start, end, pitch);
    const [, b, c, d] = line;
    // The head's tip touches the node; its direction is that of the last part of the curve.
    const before = along(line, 0.9);
    const length = Math.hypot(d.x - before.x, d.y - before.y) || 1;
    const [ux, uy] = [(d.x - before.x) / length, (d.y - before.y) / length];
    const tip = { x: d.x - ux * end.radius, y: d.y - uy * end.radius };
    const head = 2.2 + width;
    const colour = scale.colour(weight);
    const opacity = own < 0 ? 0.85 : isOwn ? 1 : 0.25;
    group
      .append("path")
      .attr("class", isOwn ? "edge own" : "edge")
      .attr("d", `M${round(start.x)},${round(start.y)}C${[b.x, b.y, c.x, c.y, tip.x - ux * head, tip.y - uy * head].map(round).join(",")}`)
      .attr("stroke", colour)
      .attr("stroke-opacity", opacity)
      .attr("stroke-width", round(width));
    group
      .append("path")
      .attr("class", "head")
      .attr("d", `M${pair(tip.x, tip.y)}l${pair(-ux * head - uy * head * 0.55, -uy * head + ux * head * 0.55)}l${pair(uy * head * 1.1, -ux * head * 1.1)}Z`)
      .attr("fill", colour)
      .attr("fill-opacity", opacity);
  }
}

function drawNodes(root: Group, figure: GraphFigure, frame: Frame, { plan, nodes }: Layout, own: number): void {
  const group = root.append("g").attr("class", "nodes");
  const joined = new Set(plan.edges.flatMap(({ from, to }) => (from === own || to === own ? [from, to] : [])));
  for (const [node, { x, y, radius, words }] of nodes) {
    const { label, place } = figure.nodes[node] ?? { label: "", place: {} };
    const isPending = Number.isNaN(plan.amounts[node]);
    const isNear = own < 0 || node === own || joined.has(node);
    const colour = place.adapter === undefined ? frame.theme.muted : (frame.adapterColours[place.adapter] ?? frame.theme.categorical[0] ?? frame.theme.ink);
    group
      .append("circle")
      .attr("class", isPending ? "node pending" : "node")
      .attr("cx", round(x))
      .attr("cy", round(y))
      .attr("r", round(radius))
      .attr("fill", isPending ? frame.theme.background : colour)
      .attr("fill-opacity", isNear ? 1 : 0.35)
      .attr("stroke", isPending ? frame.theme.muted : frame.theme.background)
      .attr("stroke-width", 1);
    // A name of which hardly more than dots would be left says nothing.
    if (words === "" || ([...words].length < 4 && words !== label)) continue;
    drawText(group, frame, words, x + radius + 3, y + baselineShift(frame.type.axis), {
      mono: true,
      bold: node === own,
      fill: isNear ? frame.theme.ink : frame.theme.muted,
    })
      .attr("paint-order", "stroke")
      .attr("stroke", frame.theme.background)
      .attr("stroke-width", 2.5)
      .attr("stroke-linejoin", "round");
  }
}

/** Under the lowest row, the token of each column. */
function drawTokens(root: Group, figure: GraphFigure, frame: Frame, { nodes, left }: Layout, top: number): number {
  const { axis: size } = frame.type;
  const columns = new Map<number, number>();
  for (const [node, { x }] of nodes) {
    const position = figure.nodes[node]?.place.position;
    if (position !== undefined) columns.set(position, Math.min(x, columns.get(position) ?? Infinity));
  }
  const width = (frame.width - left) / Math.max(1, columns.size);
  for (const [position, x] of columns)
    drawText(root, frame, fitMiddle(indexedToken(figure.tokens?.[position] ?? "", position), width - 4, size, "mono"), x - 4, top + size, {
      mono: true,
      fill: frame.theme.muted,
    });
  return columns.size > 0 ? size + 6 : 0;
}

const samples = 24;

function pointing(figure: GraphFigure, frame: Frame, layout: Layout, height: number): Drawn {
  const { plan, nodes, pitch } = layout;
  const box = ({ x, y, radius }: PlacedNode): Box => ({ x: x - radius - 2, y: y - radius - 2, width: 2 * radius + 4, height: 2 * radius + 4 });
  return {
    height,
    cellAt: (px, py) => {
      const [near] = [...nodes]
        .map(([node, placed]) => ({ node, placed, distance: Math.hypot(placed.x - px, placed.y - py) - placed.radius }))
        .filter(({ distance }) => distance < 5)
        .toSorted((a, b) => a.distance - b.distance);
      if (near) return nodeCell(figure, plan, near.node, box(near.placed));
      let found: { readonly edge: PlannedEdge; readonly at: Point; readonly distance: number } | null = null;
      for (const edge of plan.edges) {
        const [from, to] = [nodes.get(edge.from), nodes.get(edge.to)];
        if (!from || !to) continue;
        const line = curve(from, to, pitch);
        for (let step = 1; step < samples; step++) {
          const at = along(line, step / samples);
          const distance = Math.hypot(at.x - px, at.y - py);
          if (distance < Math.min(8, found?.distance ?? 8)) found = { edge, at, distance };
        }
      }
      return found ? edgeCell(figure, found.edge, found.at) : null;
    },
    marks: (place): Mark[] => {
      const own = nodes.get(nodeOf(figure, place));
      if (own) return [{ box: box(own), strength: "cell" }];
      const band = { x: layout.left - 8, width: frame.width - layout.left + 8, height: pitch };
      return plan.rows.flatMap(({ layer }, row): Mark[] =>
        layer !== null && layer === place.layer ? [{ box: { ...band, y: layout.rowTops[row] ?? 0 }, strength: "band" }] : [],
      );
    },
  };
}

const unitWords = ({ label, unit }: Metric): string => (unit === "" || unit === label ? label : `${label}, ${unit}`);

/** An edge is picked as what it goes to. */
function edgeCell({ nodes, weights: { metric } }: GraphFigure, { from, to, weight }: PlannedEdge, { x, y }: Point): Cell {
  return {
    place: nodes[to]?.place ?? {},
    label: `${nodes[from]?.label ?? ""} → ${nodes[to]?.label ?? ""}`,
    value: weight,
    lines: [{ label: unitWords(metric), value: formatValue(weight) }],
    box: { x: x - 4, y: y - 4, width: 8, height: 8 },
  };
}

/** The node's amount, and its strongest edges in and out. */
function nodeCell(figure: GraphFigure, { amounts, weights }: GraphPlan, node: number, box: Box): Cell {
  const { label, place } = figure.nodes[node] ?? { label: "", place: {} };
  const { metric } = figure.amounts;
  const token = place.position === undefined ? undefined : figure.tokens?.[place.position];
  const strongest = (end: "from" | "to") =>
    strongestEdges(figure, weights, node, end).map((edge) => ({
      label: end === "to" ? `from ${figure.nodes[edge.from]?.label ?? ""}` : `to ${figure.nodes[edge.to]?.label ?? ""}`,
      value: formatValue(edge.weight),
    }));
  const value = amounts[node] ?? NaN;
  const lines = [{ label: unitWords(metric), value: formatValue(value) }, ...strongest("to").slice(0, 3), ...strongest("from").slice(0, 3)];
  return { place, label: token === undefined ? label : `${label}, ${indexedToken(token, place.position ?? 0)}`, value, lines, box };
}

const pair = (x: number, y: number): string => `${round(x)},${round(y)}`;
