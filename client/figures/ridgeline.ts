/** Spectra over time, a panel a site: ridges (a row a snapshot, later ones behind) or heat (a column a snapshot, a row a component). */
import type { RidgelineFigure } from "../../probes/result.ts";
import { defineHatch, hatchFill } from "./cells.ts";
import { arrowStep, type Box, type Drawn, type Frame, type Group } from "./context.ts";
import { adaptersOfPlaces, type FigureModule } from "./figureModule.ts";
import { siteKind } from "./labels.ts";
import { drawPanelTitle, titleHeight } from "./panels.ts";
import { round } from "./text.ts";

import { drawHeat } from "./ridgelineHeat.ts";
import { isPanel, read } from "./ridgelineRead.ts";
import { drawRidges } from "./ridgelineRidges.ts";

/** Ridges need room: more panels than this are drawn as heat unless one is chosen. */
const mostRidgePanels = 6;

const ridgeLook = (figure: RidgelineFigure, look: string | undefined, panel: string | undefined): "ridges" | "heat" => {
  const shown = panel === undefined ? figure.panels.length : 1;
  return look === "heat" || shown > mostRidgePanels ? "heat" : "ridges";
};

function draw(root: Group, figure: RidgelineFigure, frame: Frame, top: number): Drawn {
  defineHatch(root, frame);
  const content = read(figure, frame);
  if (content.steps.length === 0) return drawNothing(root, figure, frame, top);
  return ridgeLook(figure, frame.look, frame.panel) === "heat" ? drawHeat(root, figure, frame, top, content) : drawRidges(root, figure, frame, top, content);
}

/** No snapshot yet. */
function drawNothing(root: Group, figure: RidgelineFigure, frame: Frame, top: number): Drawn {
  const box: Box = { x: 0, y: top + titleHeight(frame), width: Math.min(260, frame.width), height: 96 };
  const title = figure.panels[0]?.title ?? "";
  drawPanelTitle(root, frame, title, 0, top, box.width);
  root
    .append("rect")
    .attr("class", "pending")
    .attr("x", 0)
    .attr("y", round(box.y))
    .attr("width", round(box.width))
    .attr("height", box.height)
    .attr("fill", hatchFill(frame));
  return { height: box.y + box.height + 6, cellAt: () => null, marks: () => [] };
}
export const ridgeline: FigureModule<RidgelineFigure> = {
  draw,
  neighbour(figure, place, key, arrays) {
    const index = figure.panels.findIndex((panel) => isPanel(panel, place));
    const panel = figure.panels[index];
    if (!panel) return null;
    const { right, up } = arrowStep[key];
    if (right !== 0) {
      const beside = figure.panels[index + right];
      return beside ? { ...beside.place, ...(place.component === undefined ? {} : { component: place.component }) } : null;
    }
    const component = (place.component ?? 0) - up;
    return component >= 0 && component < read(figure, { arrays, panel: panel.id }).components ? { ...panel.place, component } : null;
  },
  valueAt(figure, arrays, _metric, place, step = Infinity) {
    const panel = figure.panels.find((each) => isPanel(each, place));
    if (!panel || place.component === undefined) return null;
    const {
      steps,
      panels: [spectra],
    } = read(figure, { arrays, panel: panel.id });
    if (!spectra || place.component >= spectra.components) return null;
    const { components, data } = spectra;
    const at = steps.findLastIndex((each, snapshot) => each <= step && !Number.isNaN(data[snapshot * components + place.component!]!));
    return at < 0 ? NaN : data[at * components + place.component]!;
  },
  showsAllSteps: true,
  refs: (figure, change) => ({ ...figure, panels: figure.panels.map((panel) => ({ ...panel, values: change(panel.values, [null, null]) })) }),
  firstPlace: ({ panels: [first] }) => (first ? { ...first.place, component: 0 } : null),
  numberWords: ({ title, unit }, { site }, when) => ({
    label: `${unit || "singular value"} of ${site === undefined ? title : siteKind(site)}, ${when}`,
    unit: "",
  }),
  looks(figure, asked, panel) {
    const choices = panel === undefined && figure.panels.length > mostRidgePanels ? [] : ["ridges", "heat"];
    return { choices, shown: ridgeLook(figure, asked, panel) };
  },
  panels: ({ panels }) => (panels.length > 1 ? panels : []),
  adapters: ({ panels }) => adaptersOfPlaces(panels.map(({ place }) => place)),
  markers: ({ markers = [] }) => markers,
  table(figure, arrays) {
    const { steps, panels } = read(figure, { arrays });
    return {
      columns: ["panel", "layer", "site", "adapter", "step", "component", "singular_value"],
      rows: panels.flatMap(({ panel, components, data }) =>
        Array.from(data, (value, index) => [
          panel.id,
          panel.place.layer ?? null,
          panel.place.site ?? null,
          panel.place.adapter ?? null,
          steps[Math.floor(index / components)] ?? NaN,
          index % components,
          value,
        ]),
      ),
    };
  },
};
