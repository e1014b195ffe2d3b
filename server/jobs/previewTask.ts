/** The preview of a training run over an open subject. */
import * as z from "zod";
import { WorkbenchError } from "../errors.ts";
import type { Subject } from "../runs/subject.ts";
import { trainingParams } from "../training/trainingParams.ts";
import { trainingPreview, type TrainingPreview } from "../training/trainingPreview.ts";

/** What the parameter a mistake lies in is called, by the error's code, where the error itself does not say. */
const parameterOfCode: Readonly<Record<string, string>> = {
  "data.empty": "data.path",
  "data.malformed": "data.path",
  "data.unsupported": "data.path",
  "file.notFound": "data.path",
  "training.unknownMethod": "method",
  "training.badOptions": "options",
  "adapter.matchedNothing": "sites.targetModules",
};

/** @throws "probe.badParams", and what `trainingPreview` throws with the parameter's name before it */
export function previewTask({ model, tokenizer, card }: Subject, raw: unknown): TrainingPreview {
  const parsed = trainingParams.safeParse(raw);
  if (!parsed.success) throw new WorkbenchError("probe.badParams", `train: ${z.prettifyError(parsed.error)}`);
  if (!model) throw new WorkbenchError("probe.notApplicable", "Training needs a base model; open one first");
  if (!tokenizer) throw new WorkbenchError("tokenizer.malformed", `${card.request.model ?? "the subject"} has no tokenizer.json; training reads text`);
  try {
    return trainingPreview(model, tokenizer, parsed.data);
  } catch (error) {
    if (!(error instanceof WorkbenchError) || error.field !== undefined) throw error;
    const field = parameterOfCode[error.code];
    throw field === undefined ? error : new WorkbenchError(error.code, `${field}: ${error.message}`, { cause: error, field });
  }
}
