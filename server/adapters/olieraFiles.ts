/** OLieRA's fields of adapter_config.json, and earlier tasks' factors read from the folders they were saved in. */
import * as z from "zod";
import { inField, WorkbenchError } from "../errors.ts";
import { readAdapterConfig } from "../formats/adapterConfig.ts";
import { openAdapterCheckpoint } from "../formats/checkpoint.ts";
import { floatValues } from "../formats/tensorValues.ts";
import type { Weight } from "../tensors/engine.ts";
import { sameShape } from "../tensors/signature.ts";
import { orders, type Order } from "./olieraTerms.ts";
import { savedKey, type TrainingSite } from "./method.ts";
import { columnsOf } from "../linalg/matrices.ts";

/** OLieRA's own fields of adapter_config.json. */
export const olieraFields = z.object({
  oliera_order: z.enum(orders).default("exact"),
  /** Ranks of the tasks whose factors lie side by side in the file, oldest first. */
  oliera_ranks: z.array(z.int().min(1)).min(1).nullish(),
});

export const olieraIdleFields = ["oliera_orthogonality", "oliera_lambda"];

type OlieraFields = z.infer<typeof olieraFields>;

/** @throws "adapter.malformed" naming the field */
function fieldsOf(raw: unknown, folder: string): OlieraFields {
  const parsed = olieraFields.safeParse(raw);
  if (!parsed.success) throw new WorkbenchError("adapter.malformed", `${folder}/adapter_config.json: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

/** The earlier tasks' factors among a site's frozen tensors, oldest first. */
export type EarlierTensors<Value> = Record<`earlierA${number}` | `earlierB${number}`, Value>;

export function earlierFactors<Value>(frozen: Readonly<EarlierTensors<Value>>): { a: Value; b: Value }[] {
  const found: { a: Value; b: Value }[] = [];
  for (let task = 0; ; task++) {
    const [a, b] = [frozen[`earlierA${task}`], frozen[`earlierB${task}`]];
    if (a === undefined || b === undefined) return found;
    found.push({ a, b });
  }
}

/** The option that names the folders. */
const earlierField = "options.earlier";

/** Factors of one task at one site; Δ = scale · b · a with the scale that was asked for. */
export interface EarlierTask {
  /** `[rank, dIn]` */
  readonly a: Weight;
  /** `[dOut, rank]` */
  readonly b: Weight;
}

/**
 * The tasks in the folders, oldest first, at one site.
 * @param scale α/r of the task in training: the factors b are scaled to it
 * @throws "training.badOptions" when a folder is no OLieRA adapter of this site and order; what reading a folder throws
 */
export function earlierTasks(
  folders: readonly string[],
  site: TrainingSite,
  { scale, order, runKey }: { scale: number; order: Order; runKey: string },
): EarlierTask[] {
  return folders.flatMap((folder) => {
    const config = inField(earlierField, () => readAdapterConfig(folder, { OLIERA: [...Object.keys(olieraFields.shape), ...olieraIdleFields] }));
    const { oliera_order: found, oliera_ranks: ranks } = fieldsOf(config.raw, folder);
    if (found !== order)
      throw new WorkbenchError("training.badOptions", `earlier: ${folder} has order "${found}"; expected "${order}", as tasks share one exponent`, {
        field: earlierField,
      });
    const { entries } = inField(earlierField, () => openAdapterCheckpoint(folder));
    const [a, b] = [entries.get(savedKey(site, "lora_A.weight")), entries.get(savedKey(site, "lora_B.weight"))];
    if (!a || !b)
      throw new WorkbenchError("training.badOptions", `earlier: ${folder} has no adapter at "${site.name}"; expected one trained at the same sites`, {
        field: earlierField,
      });
    const tasks = ranks ?? [config.r];
    const total = tasks.reduce((sum, rank) => sum + rank, 0);
    if (!sameShape(a.shape, [total, site.dIn]) || !sameShape(b.shape, [site.dOut, total])) {
      throw new WorkbenchError(
        "training.badOptions",
        `earlier: ${folder} has [${a.shape.join(", ")}] and [${b.shape.join(", ")}] at "${site.name}"; expected [${total}, ${site.dIn}] and ` +
          `[${site.dOut}, ${total}]`,
        { field: earlierField },
      );
    }
    const [rows, columns] = [floatValues(a), floatValues(b)];
    const factor = config.loraAlpha / config.r / scale;
    let from = 0;
    return tasks.map((rank, task): EarlierTask => {
      const start = from;
      from += rank;
      const key = `${runKey}:${folder}:${site.name}:${task}`;
      const left = columnsOf(
        columns,
        total,
        [...Array(rank).keys()].map((k) => start + k),
      ).map((value) => factor * value);
      return { a: held(`${key}:a`, [rank, site.dIn], rows.slice(start * site.dIn, from * site.dIn)), b: held(`${key}:b`, [site.dOut, rank], left) };
    });
  });
}

function held(key: string, shape: readonly number[], values: Float32Array): Weight {
  return { key, shape, data: () => values };
}

/** An earlier adapter at a site that has none now would be left out of the model unseen. @throws "training.badOptions" naming the module */
export function checkEarlierSites(folders: readonly string[], sites: readonly TrainingSite[]): void {
  const known = new Set(sites.map((site) => savedKey(site, "lora_A.weight")));
  for (const folder of folders) {
    const stray = [...openAdapterCheckpoint(folder).entries.keys()].find((name) => !known.has(name) && name.endsWith(".lora_A.weight"));
    if (stray !== undefined)
      throw new WorkbenchError("training.badOptions", `earlier: ${folder} has "${stray}", a site that is not trained now; expected the same sites`, {
        field: earlierField,
      });
  }
}
