/** Figure kinds: a line each. */
import { attention } from "./attention.ts";
import { bars } from "./bars.ts";
import type { FigureModules } from "./figureModule.ts";
import { heatmap } from "./heatmap.ts";
import { lines } from "./lines.ts";
import { ridgeline } from "./ridgeline.ts";
import { spectrum } from "./spectrum.ts";
import { table } from "./table.ts";
import { tokenGrid } from "./tokenGrid.ts";

export const modules: FigureModules = { heatmap, spectrum, bars, tokenGrid, attention, table, lines, ridgeline };
