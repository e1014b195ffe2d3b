/** Every adapter method; one file and one line to add one. */
import { WorkbenchError } from "../errors.ts";
import type { AdapterConfig, OwnFields } from "../formats/adapterConfig.ts";
import { didYouMean } from "../nearNames.ts";
import { adalora } from "./adalora.ts";
import { dora } from "./dora.ts";
import { ipa } from "./ipa.ts";
import { l1ra } from "./l1ra.ts";
import { lora } from "./lora.ts";
import { oliera } from "./oliera.ts";
import { ssvd } from "./ssvd.ts";
import { structure } from "./structure.ts";
import { tera } from "./tera.ts";
import type { AdapterMethod } from "./method.ts";
import { vera } from "./vera.ts";

export const methods = { lora, dora, vera, adalora, l1ra, structure, oliera, ssvd, tera, ipa } satisfies Record<string, AdapterMethod>;

/** What adapter_config.json may hold, by `peft_type`. */
export const ownFields: OwnFields = Object.fromEntries(
  Object.values<AdapterMethod>(methods).map(({ peftType }) => [
    peftType,
    Object.values<AdapterMethod>(methods)
      .filter((method) => method.peftType === peftType)
      .flatMap((method) => method.ownFields ?? []),
  ]),
);

/** @throws "adapter.unknownMethod" listing near names */
export function methodOf(config: AdapterConfig, where: string): AdapterMethod {
  const found = Object.values(methods).find((method) => method.peftType === config.peftType && method.accepts(config));
  if (!found) {
    const known = [...new Set(Object.values(methods).map((method) => method.peftType))];
    throw new WorkbenchError("adapter.unknownMethod", `${where}: peft_type "${config.peftType}" is not supported; ${didYouMean(config.peftType, known)}`);
  }
  return found;
}
