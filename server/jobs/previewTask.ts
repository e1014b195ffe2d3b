/** The preview of a training run over an open subject. */
import * as z from "zod";
import { fieldOfIssue, WorkbenchError } from "../errors.ts";
import type { Subject } from "../runs/subject.ts";
import { trainingParams } from "../training/trainingParams.ts";
import { trainingPreview, type TrainingPreview } from "../training/trainingPreview.ts";

/** @throws "probe.badParams", and what `trainingPreview` throws */
export function previewTask({ model, tokenizer, card }: Subject, raw: unknown): TrainingPreview {
  const parsed = trainingParams.safeParse(raw);
  if (!parsed.success) throw new WorkbenchError("probe.badParams", `train: ${z.prettifyError(parsed.error)}`, { field: fieldOfIssue(parsed.error.issues) });
  if (!model) throw new WorkbenchError("probe.notApplicable", "Training needs a base model; open one first");
  if (!tokenizer) throw new WorkbenchError("tokenizer.malformed", `${card.request.model ?? "the subject"} has no tokenizer.json; training reads text`);
  return trainingPreview(model, tokenizer, parsed.data);
}
