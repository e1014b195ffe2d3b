/** Where the time of programs went, from the profiles that ONNX Runtime writes: one event a node and run. */
import * as z from "zod";

export const nodeKinds = ["products", "attention", "elementwise", "copies"] as const;
export type NodeKind = (typeof nodeKinds)[number];

export interface NodeTimes {
  /** Of one repetition. */
  readonly seconds: Readonly<Record<NodeKind, number>>;
  /** Whole runs, what ONNX Runtime itself adds included. */
  readonly runs: number;
  /** Floating point operations of the products. */
  readonly operations: number;
}

const shapes = z.array(z.record(z.string(), z.array(z.number()))).default([]);
const eventSchema = z.object({
  cat: z.string().optional(),
  name: z.string(),
  ts: z.number(),
  dur: z.number().default(0),
  args: z.object({ op_name: z.string().optional(), input_type_shape: shapes, output_type_shape: shapes }).partial().default({}),
});
type Event = z.infer<typeof eventSchema>;

const products = new Set(["Gemm", "MatMul", "FusedMatMul"]);
const copies = new Set([
  "Reshape",
  "Transpose",
  "Split",
  "Concat",
  "Slice",
  "Gather",
  "GatherND",
  "Expand",
  "Identity",
  "Squeeze",
  "Unsqueeze",
  "Cast",
  "BitCast",
]);

/**
 * @param profiles the text of one profile a session, all of the same work done `repetitions` times
 * @param skipped repetitions at the start that are not counted
 * @throws ZodError when a profile is none
 */
export function nodeTimes(profiles: readonly string[], repetitions: number, skipped: number): NodeTimes {
  const seconds: Record<NodeKind, number> = { products: 0, attention: 0, elementwise: 0, copies: 0 };
  let [runs, operations] = [0, 0];
  const counted = repetitions - skipped;
  for (const profile of profiles) {
    const events = z.array(eventSchema).parse(JSON.parse(profile));
    const starts = events.filter(({ name }) => name === "model_run").toSorted((a, b) => a.ts - b.ts);
    const from = starts[Math.round((starts.length * skipped) / repetitions)]?.ts ?? Infinity;
    for (const event of events) {
      if (event.ts < from) continue;
      if (event.name === "model_run") runs += event.dur / 1e6 / counted;
      if (event.cat !== "Node" || !event.name.endsWith("_kernel_time")) continue;
      const kind = kindOf(event);
      seconds[kind] += event.dur / 1e6 / counted;
      if (kind === "products") operations += operationsOf(event) / counted;
    }
  }
  return { seconds, runs, operations };
}

/** A product over heads is attention, as is its softmax. */
function kindOf({ args }: Event): NodeKind {
  const op = args.op_name ?? "";
  if (products.has(op)) return shapeOf(args.input_type_shape, 1).length > 2 ? "attention" : "products";
  if (op === "Softmax") return "attention";
  return copies.has(op) ? "copies" : "elementwise";
}

/** 2 · values of the result · length of what each is summed over. */
function operationsOf({ args }: Event): number {
  const [left, right, result] = [shapeOf(args.input_type_shape, 0), shapeOf(args.input_type_shape, 1), shapeOf(args.output_type_shape, 0)];
  const size = (shape: readonly number[]) => shape.reduce((all, dim) => all * dim, 1);
  // values(left) · values(right) / (rows · columns) is inner², whichever way they lie.
  return 2 * size(result) * Math.round(Math.sqrt((size(left) * size(right)) / size(result)));
}

function shapeOf(list: z.infer<typeof shapes> | undefined, place: number): readonly number[] {
  return Object.values(list?.[place] ?? {})[0] ?? [];
}
