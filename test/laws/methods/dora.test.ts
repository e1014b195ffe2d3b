import { describe, expect, it } from "vitest";
import { adaptedRowNorms } from "../../../server/adapters/dora.ts";
import { gaussians, randomStream } from "../../../server/linalg/random.ts";
import { relativeError } from "../goldens.ts";
import { harness, lossOf, perturb, randomBatch, train } from "./harness.ts";
import { baseRows, siteDelta, timesRows } from "./siteDelta.ts";
import { denseProduct } from "../../../server/linalg/factored.ts";

const families = { gpt2: ["c_attn", "c_fc"], llama: ["q_proj", "down_proj"] };
const options = { rank: 4, alpha: 8 };
/** Float32 sums in another order. */
const rounding = 1e-5;

function rowNorms(matrix: Float32Array, dIn: number): Float32Array {
  return Float32Array.from({ length: matrix.length / dIn }, (_, row) => Math.hypot(...matrix.subarray(row * dIn, (row + 1) * dIn)));
}

describe.each(Object.entries(families))("on %s", (family, targetModules) => {
  it("starts with the row norms of W as magnitudes", async () => {
    const { adaptation } = await harness("dora", { family, options, targetModules });
    for (const { site, trained } of adaptation.sites)
      expect(relativeError(trained["magnitude"]!.data, rowNorms(baseRows(site), site.dIn))).toBeLessThan(rounding);
  });

  it("has rows of length |m| in W + ΔW, wherever A and B are", async () => {
    const { adaptation } = await harness("dora", { family, options, targetModules });
    perturb(adaptation, 0.2);
    for (const state of adaptation.sites) {
      const delta = adaptation.method!.denseDelta!(state, adaptation.options);
      const adapted = baseRows(state.site).map((value, i) => value + delta[i]!);
      expect(relativeError(rowNorms(adapted, state.site.dIn), state.trained["magnitude"]!.data.map(Math.abs))).toBeLessThan(rounding);
    }
  });

  it("adds m ⊙ (W + s·B·A) x / ‖W + s·B·A‖ − W x, with norms that never form the sum", async () => {
    const h = await harness("dora", { family, options, targetModules });
    perturb(h.adaptation, 0.2);
    for (const state of h.adaptation.sites.slice(0, 2)) {
      const { dIn, dOut } = state.site;
      const x = gaussians(5 * dIn, 1, randomStream(2));
      const expected = timesRows(x, h.adaptation.method!.denseDelta!(state, h.adaptation.options), dOut, dIn);
      expect(relativeError(await siteDelta(h, state, x), expected)).toBeLessThan(rounding);
    }
  });

  it("rescales the product with the dropped inputs when there is dropout, as PEFT does", async () => {
    const h = await harness("dora", { family, options, targetModules });
    perturb(h.adaptation, 0.2);
    const state = h.adaptation.sites[0]!;
    const { dIn, dOut } = state.site;
    const random = randomStream(4);
    const x = gaussians(5 * dIn, 1, random);
    const dropped = x.map((value) => (random.uniform() < 0.3 ? 0 : value / 0.7));
    // (c − 1) W x̃ + c s B A x̃ is the whole update of the dropped input; the clean W x is the layer's own.
    const expected = timesRows(dropped, h.adaptation.method!.denseDelta!(state, h.adaptation.options), dOut, dIn);
    const found = await siteDelta(h, state, x, dropped);
    expect(relativeError(found, expected)).toBeLessThan(rounding);
    expect(relativeError(found, await siteDelta(h, state, x))).toBeGreaterThan(0.1);
  });
});

it("keeps the norms constant in the gradient of A and B (section 4.3): it is the slope along which m moves with them", async () => {
  const h = await harness("dora", { options });
  perturb(h.adaptation, 0.1);
  const batch = randomBatch(h.model);
  const { gradients } = await lossOf(h, batch);
  const normsOf = () =>
    h.adaptation.sites.map((state) =>
      adaptedRowNorms(state.site.baseWeight.data(), state.site.stored, h.adaptation.method!.deltaWeight(state, h.adaptation.options)),
    );
  const before = normsOf();
  const magnitudes = h.adaptation.sites.map(({ trained }) => trained["magnitude"]!.data.slice());
  let freeDiffers = 0;
  for (const parameter of ["loraA", "loraB"]) {
    const tensors = h.adaptation.sites.map(({ site, trained }) => ({
      data: trained[parameter]!.data,
      saved: trained[parameter]!.data.slice(),
      gradient: gradients[`${site.name}/${parameter}`]!,
    }));
    const norm = Math.hypot(...tensors.flatMap(({ gradient }) => [...gradient]));
    const lossAt = async (t: number, isConstant: boolean) => {
      for (const { data, saved, gradient } of tensors) for (let i = 0; i < data.length; i++) data[i] = saved[i]! + (t * gradient[i]!) / norm;
      const after = normsOf();
      for (const [s, { trained }] of h.adaptation.sites.entries())
        trained["magnitude"]!.data.set(magnitudes[s]!.map((m, row) => (isConstant ? (m * after[s]![row]!) / before[s]![row]! : m)));
      return (await lossOf(h, batch)).loss;
    };
    const slope = async (isConstant: boolean) => ((await lossAt(1e-2, isConstant)) - (await lossAt(-1e-2, isConstant))) / 2e-2;
    // Central differences of a float32 loss leave about 1e-3.
    expect(Math.abs((await slope(true)) / norm - 1), parameter).toBeLessThan(2e-2);
    freeDiffers = Math.max(freeDiffers, Math.abs((await slope(false)) / norm - 1));
    tensors.forEach(({ data, saved }) => data.set(saved));
    h.adaptation.sites.forEach(({ trained }, s) => trained["magnitude"]!.data.set(magnitudes[s]!));
  }
  // Were the norms free, the slope would be another: the test above can tell.
  expect(freeDiffers).toBeGreaterThan(4e-2);
});

it("changes the length of rows, which no low-rank part holds: the rest of ΔW is not zero after training", async () => {
  const h = await harness("dora", { options });
  await train(h, randomBatch(h.model), 5);
  const state = h.adaptation.sites[0]!;
  const { method, options: chosen } = h.adaptation;
  expect(relativeError(denseProduct(method!.deltaWeight(state, chosen)), method!.denseDelta!(state, chosen))).toBeGreaterThan(0.01);
});
