/** The wish that a run write down where it is and end, and whether the run has heeded it. */
import type { Workspace } from "../../probes/probe.ts";

export class Pause {
  #isAsked = false;
  #isHeeded = false;

  ask(): void {
    this.#isAsked = true;
  }

  /** Whether the run was told of it: it ends at once then. A run that ended before asking was not paused. */
  get isHeeded(): boolean {
    return this.#isHeeded;
  }

  workspace(folder: string): Workspace {
    return {
      folder,
      isPaused: () => {
        this.#isHeeded ||= this.#isAsked;
        return this.#isHeeded;
      },
    };
  }
}
