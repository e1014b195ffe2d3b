/** The command that does the same as the screen, as the command line reads it. */
import type { RunRequest } from "../../server/wire.ts";
import { trainingName, trainingProbe } from "./trainingParams.ts";
import { adapterText } from "./view.ts";

const quoted = (word: string): string => (/^[\w./:=@-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`);

export function commandOf({ subject, probe, params }: RunRequest): string {
  // Its configuration is the request itself.
  if (probe === trainingProbe)
    return ["npx deltascope train", `--config ${quoted(JSON.stringify({ model: subject.model, ...params }))}`, `--out ${trainingName(params)}`].join(
      " \
  ",
    );
  const model = subject.model === null ? [] : [`--model ${quoted(subject.model)}`];
  const adapters = subject.adapters.map(({ path, name, strength }) => `--adapter ${quoted(adapterText({ path, strength, name: name ?? null }))}`);
  return ["npx deltascope probe " + probe, ...model, ...adapters, `--params ${quoted(JSON.stringify(params))}`, `--out ${probe}-result`].join(" \\\n  ");
}
