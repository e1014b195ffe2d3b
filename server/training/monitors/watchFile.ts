/** What was seen of a run, in its checkpoint's folder: looks.safetensors with all numbers, what monitors keep, and the rest as JSON beside them. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { encodeSafetensors, parseSafetensors } from "../../formats/safetensors.ts";
import { float32, type FloatTensor } from "../../tensors/hostTensor.ts";

const fileName = "looks.safetensors";

const account = z.object({ balance: z.number(), cost: z.number().nullable(), lastStep: z.number() });
const watchState = z.object({
  budget: z.object({
    used: z.number(),
    lastStep: z.number(),
    training: z.number(),
    looking: z.number(),
    pace: z.number().nullable(),
    pool: z.number(),
    accounts: z.record(z.string(), account),
  }),
  curves: z.object({
    smoothed: z.object({ sum: z.number(), weight: z.number() }),
    open: z.object({ steps: z.number() }).catchall(z.number()),
    evaluations: z.number(),
  }),
  markers: z.array(
    z.object({ step: z.number(), kind: z.enum(["ignition", "turn", "note"]), label: z.string(), site: z.string().nullable(), layer: z.number().nullable() }),
  ),
  preparation: z.number(),
});
type WatchState = z.infer<typeof watchState>;

type Named<T> = ReadonlyMap<string, T>;

/** @param arrays by name @param kept what each monitor keeps, by its name */
export function writeWatch(dir: string, state: WatchState, arrays: Named<FloatTensor>, kept: Named<Readonly<Record<string, FloatTensor>>>): void {
  const tensors = [
    ...[...arrays].map(([name, tensor]) => [`array/${name}`, tensor] as const),
    ...[...kept].flatMap(([id, own]) => Object.entries(own).map(([name, tensor]) => [`${id}/${name}`, tensor] as const)),
  ];
  writeFileSync(
    join(dir, fileName),
    encodeSafetensors(
      tensors.map(([name, { shape, data }]) => ({ name, shape, data })),
      { watch: JSON.stringify(state) },
    ),
  );
}

export interface ReadWatch {
  readonly file: string;
  readonly state: WatchState;
  readonly array: (name: string) => FloatTensor | undefined;
  /** What a monitor kept. */
  readonly kept: (id: string) => Readonly<Record<string, FloatTensor>>;
}

export function readWatch(dir: string): ReadWatch {
  const file = join(dir, fileName);
  const { tensors, metadata } = parseSafetensors(readFileSync(file), file);
  const all = new Map([...tensors].flatMap(([name, { data, shape }]) => (data instanceof Float32Array ? [[name, float32(data, shape)] as const] : [])));
  return {
    file,
    state: watchState.parse(JSON.parse(metadata["watch"] ?? "null")),
    array: (name) => all.get(`array/${name}`),
    kept: (id) => Object.fromEntries([...all].flatMap(([name, tensor]) => (name.startsWith(`${id}/`) ? [[name.slice(id.length + 1), tensor]] : []))),
  };
}
