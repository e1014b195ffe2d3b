/** A look at a model and its adapters: seconds to minutes, made again when it is lost. */
import { adapterText } from "../commandText.ts";
import type { JobKindSpec } from "./jobKind.ts";

export const probe: JobKindSpec = {
  needs: ["weights", "activations"],
  lane: "probes",
  isResumable: false,
  page: "probe",
  command: ({ subject, probe: name, params }) => [
    ["probe", name],
    ...(subject.model === null ? [] : [["--model", subject.model]]),
    ...subject.adapters.map((adapter) => ["--adapter", adapterText({ ...adapter, name: adapter.name ?? null })]),
    ["--params", JSON.stringify(params)],
    ["--out", `${name}-result`],
  ],
};
