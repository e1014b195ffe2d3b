/** Which figures of a training run changed since they were last told. */
import type { Watch } from "../server/training/monitors/watch.ts";
import type { ProbeEvent } from "./result.ts";
import { trainingFigures } from "./trainingFigures.ts";
import { finite, openWords } from "./trainingWords.ts";

/** Figure events of what changed since they were last asked for: markers and words grow, everything else is in the arrays. */
export class FigureChanges {
  readonly #sent = new Map<string, string>();
  #seen = "";

  events(watch: Watch): ProbeEvent[] {
    // All that figures say beside the arrays they point at.
    const seen = JSON.stringify([
      watch.markers.length,
      finite(watch.numbers("validation_accuracy")).length > 0,
      watch.active.includes("intruders") ? openWords(watch) : "",
    ]);
    if (seen === this.#seen) return [];
    this.#seen = seen;
    return trainingFigures(watch).flatMap((figure): ProbeEvent[] => {
      const text = JSON.stringify(figure);
      if (this.#sent.get(figure.id) === text) return [];
      this.#sent.set(figure.id, text);
      return [{ type: "figure", figure }];
    });
  }
}
