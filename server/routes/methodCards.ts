/** The table of training methods as data: what the client draws its form from and `deltascope methods` prints. */
import * as z from "zod";
import { trainings } from "../adapters/registry.ts";
import type { TrainingMethod } from "../adapters/method.ts";
import type { TrainingMethodCard } from "../wire.ts";

/** Training without an adapter has no file of its own: nothing is added to the base. */
const full: TrainingMethodCard = {
  name: "full",
  title: "All weights",
  summary: "Trains every weight of the base itself, and saves a whole model.",
  source: "AdamW: Loshchilov & Hutter 2017, arXiv 1711.05101",
  exactness: "as in PyTorch",
  isReconstructed: false,
  options: z.toJSONSchema(z.strictObject({}), { io: "input" }),
};

export function methodCards(): TrainingMethodCard[] {
  const table: Readonly<Record<string, TrainingMethod>> = trainings;
  const adapters = Object.entries(table).map(([name, { title, summary, source, exactness, isReconstructed, schema }]) => ({
    name,
    title,
    summary,
    source,
    exactness,
    isReconstructed,
    options: z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }),
  }));
  return [...adapters, full];
}
