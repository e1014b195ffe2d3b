/** Every method that can be trained; one file and one line to add one. */
import { WorkbenchError } from "../errors.ts";
import { didYouMean } from "../nearNames.ts";
import { adaloraTraining } from "./adalora.ts";
import { doraTraining } from "./dora.ts";
import { ipaTraining } from "./ipa.ts";
import { l1raTraining } from "./l1ra.ts";
import { loraTraining, rsloraTraining } from "./lora.ts";
import { olieraTraining } from "./oliera.ts";
import { pissaTraining } from "./pissa.ts";
import { ssvdTraining } from "./ssvd.ts";
import { structureTraining } from "./structure.ts";
import { teraTraining } from "./tera.ts";
import type { TrainingMethod } from "./training.ts";
import { veraTraining } from "./vera.ts";

export const trainings = {
  lora: loraTraining,
  rslora: rsloraTraining,
  dora: doraTraining,
  pissa: pissaTraining,
  vera: veraTraining,
  adalora: adaloraTraining,
  l1ra: l1raTraining,
  structure: structureTraining,
  oliera: olieraTraining,
  ssvd: ssvdTraining,
  tera: teraTraining,
  ipa: ipaTraining,
} satisfies Record<string, TrainingMethod>;
export type TrainingName = keyof typeof trainings;

/** @throws "training.unknownMethod" listing near names */
export function trainingNamed(name: string): TrainingMethod {
  const table: Readonly<Record<string, TrainingMethod>> = trainings;
  const found = Object.hasOwn(table, name) ? table[name] : undefined;
  if (!found) throw new WorkbenchError("training.unknownMethod", `no method is called "${name}"; ${didYouMean(name, [...Object.keys(table), "full"])}`);
  return found;
}
