/** Every adapter method, and every way to train one: one file and one line to add a method. */
import { WorkbenchError } from "../errors.ts";
import type { AdapterConfig, OwnFields } from "../formats/adapterConfig.ts";
import { didYouMean } from "../nearNames.ts";
import { adalora } from "./adalora.ts";
import { dora } from "./dora.ts";
import { hira } from "./hira.ts";
import { ipa } from "./ipa.ts";
import { l1ra } from "./l1ra.ts";
import { lora } from "./lora.ts";
import type { AdapterMethod, TrainingMethod } from "./method.ts";
import { oliera } from "./oliera.ts";
import { ssvd } from "./ssvd.ts";
import { structure } from "./structure.ts";
import { tera } from "./tera.ts";
import { vera } from "./vera.ts";

export const methods = { lora, dora, vera, adalora, l1ra, structure, oliera, hira, ssvd, tera, ipa } satisfies Record<string, AdapterMethod>;

const table: readonly AdapterMethod[] = Object.values(methods);

type NamesIn<Method> = Method extends AdapterMethod<infer Trainings> ? keyof Trainings & string : never;
/** What a run's `method` may be, besides "full". */
export type TrainingName = NamesIn<(typeof methods)[keyof typeof methods]>;

/** The trainings of all methods by name, in the order of the methods. */
export const trainings = Object.fromEntries(table.flatMap((method) => Object.entries(method.trainings))) as Readonly<Record<TrainingName, TrainingMethod>>;

/** What adapter_config.json may hold, by `peft_type`. */
export const ownFields: OwnFields = Object.fromEntries(
  table.map(({ peftType }) => [peftType, table.filter((method) => method.peftType === peftType).flatMap((method) => method.fields)]),
);

/** @throws "adapter.unknownMethod" listing near names */
export function methodOf(config: AdapterConfig, where: string): AdapterMethod {
  const found = table.find((method) => method.peftType === config.peftType && method.accepts(config));
  if (!found) {
    const known = [...new Set(table.map((method) => method.peftType))];
    throw new WorkbenchError("adapter.unknownMethod", `${where}: peft_type "${config.peftType}" is not supported; ${didYouMean(config.peftType, known)}`);
  }
  return found;
}

/** @throws "training.unknownMethod" listing near names */
export function trainingNamed(name: string): TrainingMethod {
  const byName: Readonly<Record<string, TrainingMethod>> = trainings;
  const found = Object.hasOwn(byName, name) ? byName[name] : undefined;
  if (!found)
    throw new WorkbenchError("training.unknownMethod", `no method is called "${name}"; ${didYouMean(name, [...Object.keys(byName), "full"])}`, {
      field: "method",
    });
  return found;
}
