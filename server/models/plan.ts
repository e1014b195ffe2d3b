/** A family's forward pass as a list of segments: how the usual ones are put together, and what flows between them. */
import { WorkbenchError } from "../errors.ts";
import { didYouMean } from "../nearNames.ts";
import { sizeOf } from "../tensors/hostTensor.ts";
import type { Family, Segment, StreamName } from "./family.ts";

/** What a family says of one segment of a single stack; the rest follows from its place in the plan. */
export type SegmentBody = Pick<Segment, "params" | "sites" | "hooks" | "run" | "resumes">;

/** Embedding, layers, head: the plan of every decoder. @param tables streams beside the residual that embedding and layers read */
export function decoderPlan(
  nLayers: number,
  tables: { readonly embed: readonly StreamName[]; readonly block: readonly StreamName[] },
  body: { readonly embed: SegmentBody; block(layer: number): SegmentBody; readonly unembed: SegmentBody },
): readonly Segment[] {
  const stack = "decoder";
  const outside = { scope: "", layer: null, stack };
  return [
    { id: "embed", ...outside, reads: ["tokens", ...tables.embed], writes: "resid", isPositionwise: true, ...body.embed },
    ...Array.from({ length: nLayers }, (_, layer): Segment => {
      const id = `blocks.${layer}`;
      return { id, scope: `${id}.`, layer, stack, reads: ["resid", ...tables.block], writes: "resid", ...body.block(layer) };
    }),
    { id: "unembed", ...outside, reads: ["resid"], writes: "logits", isPositionwise: true, ...body.unembed },
  ];
}

/** Parameters of a block of the plan, on average; 0 where it has none. */
export function blockParameters(plan: readonly Segment[]): number {
  const blocks = plan.filter(({ layer }) => layer !== null);
  const parameters = blocks.flatMap(({ params }) => params).reduce((sum, { shape }) => sum + sizeOf(shape), 0);
  return blocks.length === 0 ? 0 : parameters / blocks.length;
}

/** Streams from outside, with the stack whose length each sets. */
export const inputsOf = (family: Family): Readonly<Record<StreamName, string>> => family.inputs ?? { tokens: "decoder" };

/** What came from outside or was written before a segment, and is read there or later: all that a run needs to start there. */
export function streamsEntering(family: Family, plan: readonly Segment[], index: number): StreamName[] {
  const written = new Set([...Object.keys(inputsOf(family)), ...plan.slice(0, index).map(({ writes }) => writes)]);
  const needed = new Set<StreamName>();
  const rewritten = new Set<StreamName>();
  for (const { reads, writes } of plan.slice(index)) {
    for (const name of reads) if (written.has(name) && !rewritten.has(name)) needed.add(name);
    rewritten.add(writes);
  }
  return [...needed];
}

/** Place of a segment in the plan. @throws "internal" with near names */
export function segmentIndex(plan: readonly Segment[], id: string): number {
  const index = plan.findIndex((segment) => segment.id === id);
  if (index < 0)
    throw new WorkbenchError(
      "internal",
      `no segment "${id}"; ${didYouMean(
        id,
        plan.map((segment) => segment.id),
      )}`,
    );
  return index;
}
