/** The intruder monitor on methods whose adapted weight is more than W and a low-rank product. */
import { expect, it } from "vitest";
import { svd } from "../../../server/linalg/svd.ts";
import { intruderRule } from "../../../server/training/monitors/intruderCount.ts";
import { intruders } from "../../../server/training/monitors/intruders.ts";
import { probeParams } from "../../../server/training/trainingParams.ts";
import { randomStream } from "../../../server/linalg/random.ts";
import { denseProduct } from "../../../server/linalg/factored.ts";
import { harness, perturb } from "../../laws/methods/harness.ts";
import { baseRows } from "../../laws/methods/siteDelta.ts";

/** Columns first, as `svd` takes them. */
function leftVectors(rows: Float32Array, dOut: number, dIn: number): { vectors: Float64Array; count: number } {
  const { u, s } = svd(
    Float64Array.from({ length: dOut * dIn }, (_, at) => rows[(at % dOut) * dIn + Math.floor(at / dOut)]!),
    dOut,
    dIn,
  );
  return { vectors: u, count: s.length };
}

/** The definition: leading left vectors of the adapted weight that are near none of W's. */
function counted(base: Float32Array, delta: Float32Array, dOut: number, dIn: number): number {
  const before = leftVectors(base, dOut, dIn);
  const after = leftVectors(
    base.map((value, at) => value + delta[at]!),
    dOut,
    dIn,
  );
  const cosine = (j: number, k: number) => {
    let sum = 0;
    for (let o = 0; o < dOut; o++) sum += after.vectors[j * dOut + o]! * before.vectors[k * dOut + o]!;
    return Math.abs(sum);
  };
  const strange = (j: number) => Array.from({ length: before.count }, (_, k) => cosine(j, k)).every((value) => value < intruderRule.epsilon);
  return Array.from({ length: intruderRule.count }, (_, j) => strange(j)).filter(Boolean).length;
}

it("counts the intruders of a DoRA in W with its rescaled rows, not in W + s·B·A", async () => {
  const { adaptation, programs } = await harness("dora", { options: { rank: 2 } });
  perturb(adaptation, 0.3);
  const random = randomStream(4, "magnitudes");
  for (const { trained } of adaptation.sites) trained["magnitude"]!.data.forEach((m, row, all) => (all[row] = m * Math.exp(random.gaussian())));
  const { method, options, sites } = adaptation;
  const run = { adaptation, programs, params: probeParams.parse({ intruders: true }), prompts: null };
  const looker = intruders.start(run);
  await looker.prepare!(new AbortController().signal);
  const found = await looker.look({
    step: 1,
    gradients: {},
    delta: (state) => method!.deltaWeight(state, options),
    spectrum: () => Promise.reject(new Error("not asked for")),
    logits: () => [],
  });
  const of = (delta: (state: (typeof sites)[number]) => Float32Array) =>
    sites.map((state) => counted(baseRows(state.site), delta(state), state.site.dOut, state.site.dIn));
  const truth = of((state) => method!.denseDelta!(state, options));
  expect([...found["intruders"]!]).toEqual(truth);
  expect([...found["intruders_open"]!]).toEqual(sites.map(() => 0));
  expect(of((state) => denseProduct(method!.deltaWeight(state, options)))).not.toEqual(truth);
});
