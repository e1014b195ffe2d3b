/** What was loaded of each adapter, and what was not. */
import { scalingWords, type Subject } from "../../server/runs/subject.ts";
import type { TableFigure } from "../result.ts";
import { numberColumns, wordColumns } from "./columns.ts";

export function loadedTable({ adapters }: Subject): TableFigure {
  return {
    kind: "table",
    id: "loaded",
    title: "What was loaded",
    subtitle: "Method and scaling as the files say; anything left out is named",
    columns: [
      ...wordColumns({ adapter: "adapter", method: "method", scaling: "scaling" }),
      ...numberColumns({ sites: "sites", saved: "replaced parameters", parameters: "parameters" }),
      ...wordColumns({ base: "trained on", notLoaded: "not loaded" }),
    ],
    rows: adapters.map((adapter) => {
      const warning = adapter.warnings.join("; ");
      return {
        cells: {
          adapter: adapter.name,
          method: `${adapter.method.title} (${adapter.method.exactness})`,
          scaling: scalingWords(adapter),
          sites: adapter.sites.size,
          saved: adapter.saved.length,
          parameters: adapter.parameters,
          base: adapter.config.baseModelNameOrPath ?? "",
          notLoaded: warning === "" ? "everything was loaded" : warning,
        },
        place: { adapter: adapter.name },
        ...(warning === "" ? {} : { warning }),
      };
    }),
  };
}
