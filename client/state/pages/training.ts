/** The page of training: the form of a new run, or a run with its checkpoints. */
import { trainingName } from "../../../server/jobKinds/train.ts";
import { runs } from "../runs.svelte.ts";
import { selection } from "../selection.svelte.ts";
import { steps } from "../steps.svelte.ts";
import { subject } from "../subject.svelte.ts";
import { isTraining, training } from "../training.svelte.ts";
import type { Page } from "./page.ts";

export const trainingPage: Page = {
  isOfSubject: false,
  isComparable: true,
  // Not soon made again.
  kept: 12,
  tag: "training",
  title: trainingName,
  obstacle: () => (subject.model === null ? "Open a base model first." : null),
  request: (probe) => ({ subject: training.subject, probe, params: training.params }),
  settings: () => training.params,
  setAll(_probe, params, hasRun) {
    training.setAll(params);
    training.isNew = !hasRun;
  },
  isForm: () => training.isNew,
  /** The run that the form describes, or the branch of another run. */
  async start(request) {
    const { branchOf } = training;
    const record = branchOf ? await runs.branch(branchOf.run, branchOf.step, training.wholeParams) : await runs.begin(request);
    if (!record) {
      training.error = runs.error === null ? null : training.errorFrom(runs.error);
      runs.error = null;
      return false;
    }
    training.isNew = false;
    training.branchOf = null;
    selection.clear();
    steps.clear();
    return true;
  },
  returning: () => (runs.current && isTraining(runs.current) ? runs.current : (runs.list.find(isTraining) ?? null)),
  async take({ subject: asked }) {
    // Adapters beside it have nothing to do with a training run, and stay.
    if (asked.model !== subject.model) await subject.open(asked.model, [], "model");
  },
};
