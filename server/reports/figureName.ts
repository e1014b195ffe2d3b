/** What a figure's file is called: which run it is of, what is drawn and by which metric. */
import { folderName } from "../folderName.ts";
import type { FigureFormat } from "./figureRequest.ts";

export interface NamedFigure {
  readonly run: string;
  readonly model: string | null;
  readonly probe: string;
  readonly figure: string;
  readonly format: FigureFormat;
  readonly metric?: string;
  readonly look?: string;
  readonly step?: number;
  readonly size?: string;
}

/** "tiny-llama-activationPatching-positions-kl-column-3f9c.pdf"; letters that a file system may not have become "-". */
export function figureFileName({ run, model, probe, figure, format, metric, look, step, size }: NamedFigure): string {
  const words = [model === null ? undefined : folderName(model), probe, figure, metric, look, step === undefined ? undefined : `step${step}`, size, run];
  const name = words.flatMap((word) => (word === undefined || word === "" ? [] : [word.replace(/[^\w.]+/g, "-").replace(/^-+|-+$/g, "")])).join("-");
  return `${name}.${format}`;
}
