/** In place of a figure of a kind that is not known here: it says so in words. */
import type { AnyFigure } from "../../probes/result.ts";
import type { FigureModule } from "./figureModule.ts";
import { drawText } from "./text.ts";
import { wrapText } from "./textWidth.ts";

const unknownKindWords = ({ id, kind }: AnyFigure, known: readonly string[]): string =>
  `The figure “${id}” is of the kind “${kind}”; this version of Deltascope draws ${known.join(", ")}. ` +
  "Another version made this result: open it there. Its numbers are in the run's arrays.safetensors.";

export const unknownKind = (known: readonly string[]): FigureModule<AnyFigure> => ({
  draw(root, figure, frame, top) {
    const { axis: size } = frame.type;
    const lines = wrapText(unknownKindWords(figure, known), Math.min(frame.width, 640), size);
    lines.forEach((words, index) => drawText(root, frame, words, 0, top + size + 4 + index * (size + 5), { fill: frame.theme.muted }));
    return { height: top + lines.length * (size + 5) + 10, cellAt: () => null, marks: () => [] };
  },
  neighbour: () => null,
  valueAt: () => null,
  table: (figure) => ({ columns: ["note"], rows: [[unknownKindWords(figure, known)]] }),
  refs: (figure) => figure,
  firstPlace: () => null,
});
