import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { principalFactors } from "../../../server/adapters/baseChange.ts";
import { parseSafetensors } from "../../../server/formats/safetensors.ts";
import { denseProduct, singularValues } from "../../../server/linalg/factored.ts";
import { gaussians, randomStream } from "../../../server/linalg/random.ts";
import { svd } from "../../../server/linalg/svd.ts";
import { saveAdaptation } from "../../../server/training/saveAdaptation.ts";
import { readGolden, relativeError } from "../goldens.ts";
import { harness, perturb, randomBatch, temporaryDir, train } from "./harness.ts";
import { baseRows, siteDelta, timesRows } from "./siteDelta.ts";

const families = { gpt2: ["c_attn", "c_fc"], llama: ["q_proj", "down_proj"] };
const options = { rank: 3, alpha: 6 };
/** Float32 sums in another order. */
const rounding = 1e-5;
/** PyTorch decomposes in float32: where σ₃ and σ₄ differ by 1 % of σ₁, its subspace is 1e-5 off that of float64. */
const float32Subspace = 3e-5;

describe.each(Object.entries(families))("on %s", (family, targetModules) => {
  it("starts where PEFT's exact decomposition does: the same s·B·A, whatever the signs of the vectors", async () => {
    const { adaptation } = await harness("pissa", { family, options, targetModules });
    const golden = readGolden("training", `${family}-pissa`, "golden.safetensors");
    for (const { site, trained } of adaptation.sites) {
      const { dIn, dOut } = site;
      const product = (left: Float32Array, right: Float32Array) => denseProduct({ left, right, dIn, dOut, rank: 3, scale: 2 });
      const theirs = product(golden.floats(`initial.${site.modulePath}.lora_B.weight`), golden.floats(`initial.${site.modulePath}.lora_A.weight`));
      expect(relativeError(product(trained["loraB"]!.data, trained["loraA"]!.data), theirs)).toBeLessThan(float32Subspace);
    }
  });

  it("starts at the best approximation of W of its rank: what is left has the other singular values", async () => {
    const { adaptation } = await harness("pissa", { family, options, targetModules });
    for (const { site, trained } of adaptation.sites) {
      const { dIn, dOut } = site;
      const w = baseRows(site);
      const columns = (rows: Float32Array) => Float64Array.from({ length: dIn * dOut }, (_, at) => rows[(at % dOut) * dIn + Math.floor(at / dOut)]!);
      const all = svd(columns(w), dOut, dIn).s;
      const part = denseProduct({ left: trained["loraB"]!.data, right: trained["loraA"]!.data, dIn, dOut, rank: 3, scale: 2 });
      const left = svd(columns(w.map((value, i) => value - part[i]!)), dOut, dIn).s;
      for (let k = 0; k < 10; k++) expect(Math.abs(left[k]! - all[k + 3]!) / all[0]!).toBeLessThan(rounding);
    }
  });

  it("splits each singular value evenly between A and B", async () => {
    const { adaptation } = await harness("pissa", { family, options, targetModules });
    const { site } = adaptation.sites[0]!;
    const { a, b } = principalFactors(site, 3, 2);
    for (let k = 0; k < 3; k++) {
      const row = Math.hypot(...a.subarray(k * site.dIn, (k + 1) * site.dIn));
      const column = Math.hypot(...b.filter((_, i) => i % 3 === k));
      expect(Math.abs(row / column - 1)).toBeLessThan(rounding);
      expect(
        Math.abs(row * column * 2 - svd(Float64Array.from(site.baseWeight.data()), site.baseWeight.shape[1]!, site.baseWeight.shape[0]!).s[k]!),
      ).toBeLessThan(rounding * 10);
    }
  });
});

it("has ΔW = 0 at the start although s·B·A is not, and at most twice the rank after it", async () => {
  const { adaptation } = await harness("pissa", { options });
  const { method, options: chosen, sites } = adaptation;
  for (const state of sites) expect(Math.max(...denseProduct(method!.deltaWeight(state, chosen)).map(Math.abs))).toBeLessThan(1e-6);
  perturb(adaptation, 0.1);
  for (const state of sites) {
    const values = singularValues(method!.deltaWeight(state, chosen));
    expect(values).toHaveLength(6);
    expect(values[0]!).toBeGreaterThan(0.1);
  }
});

it("takes off what the start held from the inputs without dropout, for there it belongs to the base", async () => {
  const h = await harness("pissa", { options });
  const state = h.adaptation.sites[0]!;
  const { dIn, dOut } = state.site;
  const random = randomStream(4);
  const x = gaussians(5 * dIn, 1, random);
  const dropped = x.map((value) => (random.uniform() < 0.3 ? 0 : value / 0.7));
  const started = denseProduct({ left: state.trained["loraB"]!.data, right: state.trained["loraA"]!.data, dIn, dOut, rank: 3, scale: 2 });
  const expected = timesRows(
    dropped.map((value, i) => value - x[i]!),
    started,
    dOut,
    dIn,
  );
  expect(relativeError(await siteDelta(h, state, x, dropped), expected)).toBeLessThan(rounding);
});

it("saves a LoRA of twice the rank and alpha, whose second half is the start with its sign turned", async () => {
  const h = await harness("pissa", { options });
  const start = h.adaptation.sites.map(({ trained }) => ({ a: trained["loraA"]!.data.slice(), b: trained["loraB"]!.data.slice() }));
  await train(h, randomBatch(h.model), 3);
  const folder = join(temporaryDir(), "adapter");
  saveAdaptation(folder, h.adaptation);
  const config = JSON.parse(readFileSync(join(folder, "adapter_config.json"), "utf8")) as Record<string, unknown>;
  expect(config).toMatchObject({ peft_type: "LORA", r: 6, lora_alpha: 12, init_lora_weights: true });
  const { tensors } = parseSafetensors(readFileSync(join(folder, "adapter_model.safetensors")));
  for (const [i, { site, trained }] of h.adaptation.sites.entries()) {
    const a = Float32Array.from(tensors.get(`base_model.model.${site.modulePath}.lora_A.weight`)!.data);
    const b = Float32Array.from(tensors.get(`base_model.model.${site.modulePath}.lora_B.weight`)!.data);
    expect(a.subarray(0, a.length / 2)).toEqual(trained["loraA"]!.data);
    expect(a.subarray(a.length / 2)).toEqual(start[i]!.a);
    expect(b.filter((_, at) => at % 6 < 3)).toEqual(trained["loraB"]!.data);
    expect(b.filter((_, at) => at % 6 >= 3)).toEqual(start[i]!.b.map((value) => -value));
  }
});
