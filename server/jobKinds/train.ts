/** Training an adapter on a model. */
import type { JobKindSpec } from "./jobKind.ts";

/** The adapter's name, which tells training runs apart. */
export const trainingName = (params: Readonly<Record<string, unknown>>): string => (typeof params["name"] === "string" ? params["name"] : "adapter");

export const train: JobKindSpec = {
  needs: ["training"],
  lane: "training",
  isResumable: true,
  page: "training",
  // Its configuration is the request itself.
  command: ({ subject, params }) => [["train"], ["--config", JSON.stringify({ model: subject.model, ...params })], ["--out", trainingName(params)]],
};
