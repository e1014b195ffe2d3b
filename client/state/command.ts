/** The command that does the same as the screen, as the command line reads it. */
import { adapterText, shellQuoted } from "../../server/commandText.ts";
import type { RunRequest } from "../../server/wire.ts";
import { trainingName, trainingProbe } from "./trainingParams.ts";

/** One option a line. */
const lines = (parts: readonly string[]): string => parts.join(" \\\n  ");

export function commandOf({ subject, probe, params }: RunRequest): string {
  // Its configuration is the request itself.
  if (probe === trainingProbe)
    return lines([
      "npx deltascope train",
      `--config ${shellQuoted(JSON.stringify({ model: subject.model, ...params }))}`,
      `--out ${shellQuoted(trainingName(params))}`,
    ]);
  const model = subject.model === null ? [] : [`--model ${shellQuoted(subject.model)}`];
  const adapters = subject.adapters.map(({ path, name, strength }) => `--adapter ${shellQuoted(adapterText({ path, strength, name: name ?? null }))}`);
  return lines(["npx deltascope probe " + probe, ...model, ...adapters, `--params ${shellQuoted(JSON.stringify(params))}`, `--out ${probe}-result`]);
}
