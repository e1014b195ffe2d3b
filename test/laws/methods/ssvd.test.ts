/** SSVD: the start, the strict rotation, where ΔW lies, the first-order map, and every option through training, merge and files. */
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { cayley, cayleyDifference, skew, skewOf } from "../../../server/adapters/cayley.ts";
import { rotationDifference, ssvdTraining } from "../../../server/adapters/ssvd.ts";
import type { SiteState } from "../../../server/adapters/method.ts";
import { denseProduct, singularValues } from "../../../server/linalg/factored.ts";
import { float32 } from "../../../server/tensors/hostTensor.ts";
import { createEngine } from "../../../server/tensors/providers.ts";
import { gaussians, randomStream } from "../../../server/linalg/random.ts";
import { svd } from "../../../server/linalg/svd.ts";
import { saveAdaptation } from "../../../server/training/saveAdaptation.ts";
import { trainedTensors } from "../../../server/training/adaptation.ts";
import { relativeError } from "../goldens.ts";
import { adaptedModel, baseLogits, harness, lastPlaces, lossOf, openedLogits, perturb, randomBatch, temporaryDir, train } from "./harness.ts";
import { lawEngine } from "../../lawEngine.ts";

/** U, σ, V and the trained numbers are float32. */
const float32Tolerance = 1e-5;
/** What float32 products leave of GᵀG. */
const orthogonality = 1e-6;

const engine = await createEngine(lawEngine);
afterAll(() => engine.dispose());

/** W or ΔW as `[dOut, dIn]`. */
function baseOf({ site: { baseWeight, stored, dIn, dOut } }: SiteState): Float64Array {
  const w = baseWeight.data();
  return Float64Array.from({ length: dIn * dOut }, (_, at) => w[stored === "outIn" ? at : (at % dIn) * dOut + Math.floor(at / dIn)]!);
}

/** Row-major `[rows, cols]` to its singular values: read column-major it is the transpose, with the same values. */
const valuesOf = (rowMajor: Float64Array | Float32Array, rows: number, cols: number): Float64Array => svd(Float64Array.from(rowMajor), cols, rows).s;

function product(a: ArrayLike<number>, b: ArrayLike<number>, n: number, inner: number, m: number, transposeA = false): Float64Array {
  const out = new Float64Array(n * m);
  for (let i = 0; i < n; i++)
    for (let k = 0; k < inner; k++) {
      const value = a[transposeA ? k * n + i : i * inner + k]!;
      for (let j = 0; j < m; j++) out[i * m + j]! += value * b[k * m + j]!;
    }
  return out;
}

async function strictRotation(triangle: Float32Array, k: number): Promise<Float64Array> {
  const program = await engine.compile(`cayley ${k}`, ({ t }) => ({ g: cayley(skew(t!, k)) }), {
    inputs: { t: { shape: [triangle.length], dtype: "float32" } },
    weights: {},
  });
  return Float64Array.from((await program.run({ t: float32(triangle, [triangle.length]) }))["g"]!.data);
}

const triangleOf = (k: number, std: number, seed = 1): Float32Array => gaussians((k * (k - 1)) / 2, std, randomStream(seed, "triangle", k, std));

function determinant(matrix: Float64Array, n: number): number {
  const a = matrix.slice();
  let value = 1;
  for (let c = 0; c < n; c++) {
    let best = c;
    for (let r = c + 1; r < n; r++) if (Math.abs(a[r * n + c]!) > Math.abs(a[best * n + c]!)) best = r;
    if (best !== c) {
      value = -value;
      for (let j = 0; j < n; j++) [a[c * n + j], a[best * n + j]] = [a[best * n + j]!, a[c * n + j]!];
    }
    value *= a[c * n + c]!;
    for (let r = c + 1; r < n; r++) {
      const factor = a[r * n + c]! / a[c * n + c]!;
      for (let j = c; j < n; j++) a[r * n + j]! -= factor * a[c * n + j]!;
    }
  }
  return value;
}

function plusIdentity(matrix: ArrayLike<number>, n: number): Float64Array {
  return Float64Array.from({ length: n * n }, (_, at) => matrix[at]! + (Math.floor(at / n) === at % n ? 1 : 0));
}

const departure = (g: Float64Array, n: number): number =>
  product(g, g, n, n, n, true).reduce((worst, value, at) => Math.max(worst, Math.abs(value - (Math.floor(at / n) === at % n ? 1 : 0))), 0);

describe("at the start (property 1)", () => {
  it.each(["gpt2", "llama"])("ΔW is exactly 0, and with all directions U Σ Vᵀ is W (%s)", async (family) => {
    const { adaptation } = await harness("ssvd", {
      family,
      options: { portion: 1 },
      targetModules: family === "gpt2" ? ["c_attn", "c_proj"] : ["q_proj", "down_proj", "up_proj"],
    });
    for (const state of adaptation.sites) {
      const { dIn, dOut } = state.site;
      expect(Math.max(...denseProduct(ssvdTraining.deltaWeight(state, adaptation.options)).map(Math.abs))).toBe(0);
      const [u, sigma, v] = [state.frozen["u"]!.data(), state.frozen["sigma"]!.data(), state.frozen["v"]!.data()];
      const k = sigma.length;
      const scaled = u.map((value, at) => value * sigma[at % k]!);
      expect(relativeError(Float32Array.from(product(scaled, v, dOut, k, dIn)), Float32Array.from(baseOf(state)))).toBeLessThan(float32Tolerance);
    }
  });
});

describe("the strict map (property 2)", () => {
  it.each([
    [8, 0.01],
    [8, 1],
    [32, 0.3],
    [32, 10],
    [63, 100],
    [2, 5000],
  ])("is orthogonal with determinant 1, %i directions and K of size %f", async (k, std) => {
    const g = await strictRotation(triangleOf(k, std), k);
    expect(departure(g, k)).toBeLessThan(orthogonality);
    expect(determinant(g, k)).toBeCloseTo(1, 4);
  });

  it.each([
    [8, 0.01],
    [8, 1],
    [32, 0.3],
    [32, 3],
  ])("is (I − K)(I + K)⁻¹ as float64 has it, %i directions and K of size %f", async (k, std) => {
    const triangle = triangleOf(k, std);
    const expected = plusIdentity(cayleyDifference(skewOf(triangle, k), k), k);
    const found = await strictRotation(triangle, k);
    // float32 rounding of K moves an eigenvalue κ of K by κ·6e-8, and products add their own.
    const largest = Math.sqrt(skewOf(triangle, k).reduce((sum, value) => sum + value * value, 0) / 2);
    expect(Math.max(...found.map((value, at) => Math.abs(value - expected[at]!)))).toBeLessThan(1e-6 * (1 + largest));
  });

  it("leaves the singular values of W as they were when dΣ is 0", async () => {
    const { adaptation } = await harness("ssvd", { options: { map: "strict", k: 10 } });
    perturb(adaptation, 0.5);
    for (const state of adaptation.sites) {
      state.trained["shift"]!.data.fill(0);
      const { dIn, dOut } = state.site;
      const before = valuesOf(baseOf(state), dOut, dIn);
      const delta = denseProduct(ssvdTraining.deltaWeight(state, adaptation.options));
      const after = valuesOf(
        baseOf(state).map((value, at) => value + delta[at]!),
        dOut,
        dIn,
      );
      expect(Math.hypot(...delta)).toBeGreaterThan(0.1 * Math.hypot(...before));
      before.forEach((value, i) => expect(Math.abs(after[i]! - value) / before[0]!).toBeLessThan(float32Tolerance));
    }
  });
});

it("the strict map leaves the left singular vectors of W as they were, whatever dΣ is", async () => {
  const offDiagonal = async (map: string) => {
    const { adaptation } = await harness("ssvd", { options: { map, portion: 1 }, targetModules: ["c_attn"] });
    perturb(adaptation, 0.2);
    const state = adaptation.sites[0]!;
    const { dIn, dOut } = state.site;
    const delta = denseProduct(ssvdTraining.deltaWeight(state, adaptation.options));
    const k = Math.min(dIn, dOut);
    const turned = product(
      state.frozen["u"]!.data(),
      baseOf(state).map((value, at) => value + delta[at]!),
      k,
      dOut,
      dIn,
      true,
    ); // UᵀW'
    let [beside, on] = [0, 0];
    for (let i = 0; i < k; i++)
      for (let j = 0; j < k; j++) {
        let dot = 0;
        for (let c = 0; c < dIn; c++) dot += turned[i * dIn + c]! * turned[j * dIn + c]!;
        if (i === j) on += dot * dot;
        else beside += dot * dot;
      }
    return Math.sqrt(beside / on);
  };
  expect(await offDiagonal("strict")).toBeLessThan(float32Tolerance);
  expect(await offDiagonal("firstOrder")).toBeGreaterThan(1e-2);
});

describe("confinement (property 3)", () => {
  it("keeps ΔW inside the leading k × k block of W's own bases", async () => {
    const { adaptation } = await harness("ssvd", { options: { k: 6 } });
    perturb(adaptation, 0.2);
    for (const state of adaptation.sites) {
      const { dIn, dOut } = state.site;
      const delta = denseProduct(ssvdTraining.deltaWeight(state, adaptation.options));
      const full = svd(baseOf(state), dIn, dOut); // column-major [dIn, dOut] is Wᵀ: u holds input directions, v output directions
      const n = Math.min(dIn, dOut);
      let [inside, outside] = [0, 0];
      for (let i = 0; i < n; i++)
        for (let j = 0; j < n; j++) {
          let entry = 0;
          for (let o = 0; o < dOut; o++) for (let c = 0; c < dIn; c++) entry += full.v[i * dOut + o]! * delta[o * dIn + c]! * full.u[j * dIn + c]!;
          if (i < 6 && j < 6) inside += entry * entry;
          else outside += entry * entry;
        }
      expect(Math.sqrt(inside)).toBeCloseTo(Math.hypot(...delta), 4);
      expect(Math.sqrt(outside / inside)).toBeLessThan(float32Tolerance);
    }
  });

  it("gives an update of rank k, and of k − 1 when k is odd and the values stay: the rotation has an axis", async () => {
    for (const [k, isShifted, rank] of [
      [6, false, 6],
      [5, true, 5],
      [5, false, 4],
    ] as const) {
      const { adaptation } = await harness("ssvd", { options: { map: "strict", k } });
      perturb(adaptation, 0.3);
      for (const state of adaptation.sites) {
        if (!isShifted) state.trained["shift"]!.data.fill(0);
        const values = singularValues(ssvdTraining.deltaWeight(state, adaptation.options));
        expect(values.filter((value) => value > float32Tolerance * values[0]!)).toHaveLength(rank);
      }
    }
  });
});

describe("the first-order map (property 4)", () => {
  it("has the singular values √(1 + 4κ²) of I − 2K, so it never contracts", () => {
    const k = 7;
    const triangle = triangleOf(k, 0.4);
    const kappas = valuesOf(skewOf(triangle, k), k, k);
    const found = valuesOf(plusIdentity(rotationDifference(triangle, k, "firstOrder"), k), k, k);
    found.forEach((value, i) => expect(value).toBeCloseTo(Math.sqrt(1 + 4 * kappas[i]! ** 2), 10));
    expect(Math.min(...found)).toBeGreaterThanOrEqual(1 - 1e-12);
  });

  it("differs from the strict map by 2K² to leading order: ten times smaller K, a hundred times smaller difference", () => {
    const k = 12;
    const direction = triangleOf(k, 1);
    const ratios = [1e-1, 1e-2, 1e-3].map((scale) => {
      const triangle = direction.map((value) => value * scale);
      const strict = rotationDifference(triangle, k, "strict");
      const difference = Math.hypot(...rotationDifference(triangle, k, "firstOrder").map((value, at) => value - strict[at]!));
      const skewMatrix = skewOf(triangle, k);
      return difference / (2 * Math.hypot(...product(skewMatrix, skewMatrix, k, k, k)));
    });
    // The next term is 2K³: relative to 2K² it is the size of K.
    expect(Math.abs(ratios[1]! - 1)).toBeLessThan(0.05);
    expect(Math.abs(ratios[2]! - 1)).toBeLessThan(0.005);
    expect(Math.abs(ratios[2]! - 1)).toBeLessThan(Math.abs(ratios[1]! - 1));
  });
});

describe("parameters (property 5)", () => {
  const site = { name: "blocks.0.attn.qkv", dIn: 1024, dOut: 4096 };
  it.each([
    [409, 31.86],
    [341, 22.16],
    [292, 16.26],
    [256, 12.5],
    [227, 9.83],
  ])("are the paper's: k = %i in 380 matrices makes %f million", (k, millions) => {
    expect((380 * ssvdTraining.parameterCount(site, ssvdTraining.parseOptions({ k }), 1)) / 1e6).toBeCloseTo(millions, 2);
  });

  it("are one more with the gate and k² + k for the free map", () => {
    expect(ssvdTraining.parameterCount(site, ssvdTraining.parseOptions({ k: 10, gate: true }), 1)).toBe(56);
    expect(ssvdTraining.parameterCount(site, ssvdTraining.parseOptions({ k: 10, map: "free" }), 1)).toBe(110);
    expect(ssvdTraining.parameterCount(site, ssvdTraining.parseOptions({ portion: 0.4 }), 1)).toBe((409 * 410) / 2);
  });

  it("are refused where k is more than the weight has, or fewer than two, with the site's name", () => {
    expect(() => ssvdTraining.parameterCount(site, ssvdTraining.parseOptions({ k: 1025 }), 1)).toThrow(/blocks\.0\.attn\.qkv.*2 to 1024/);
    expect(() => ssvdTraining.parameterCount(site, ssvdTraining.parseOptions({ portion: 0.001 }), 1)).toThrow(/is 1 directions; expected 2 to 1024/);
  });
});

it("the gate starts at one half of the shift", async () => {
  const [gated, plain] = await Promise.all([harness("ssvd", { options: { gate: true, k: 4 } }), harness("ssvd", { options: { k: 4 } })]);
  for (const [state, twin] of gated.adaptation.sites.map((s, i) => [s, plain.adaptation.sites[i]!] as const)) {
    state.trained["shift"]!.data.fill(2);
    twin.trained["shift"]!.data.fill(1);
    expect(
      relativeError(
        denseProduct(ssvdTraining.deltaWeight(state, gated.adaptation.options)),
        denseProduct(ssvdTraining.deltaWeight(twin, plain.adaptation.options)),
      ),
    ).toBeLessThan(float32Tolerance);
  }
});

it("ESPnet's orientation rotates the output side of a weight with more inputs than outputs, and only of such", async () => {
  const build = (espnetCompat: boolean) =>
    harness("ssvd", { family: "llama", options: { map: "strict", k: 6, espnetCompat }, targetModules: ["q_proj", "down_proj"] });
  const [espnet, paper] = await Promise.all([build(true), build(false)]);
  for (const { adaptation } of [espnet, paper]) perturb(adaptation, 0.3);
  for (const [i, state] of espnet.adaptation.sites.entries()) {
    state.trained["shift"]!.data.fill(0);
    paper.adaptation.sites[i]!.trained["shift"]!.data.fill(0);
    const { dIn, dOut } = state.site;
    const [rotated, kept] = [espnet, paper].map(({ adaptation }) => denseProduct(ssvdTraining.deltaWeight(adaptation.sites[i]!, adaptation.options))) as [
      Float32Array,
      Float32Array,
    ];
    if (dOut >= dIn) {
      expect(rotated).toEqual(kept);
      continue;
    }
    // W'ᵀW' = W ᵀW when only outputs are turned; turned inputs change it.
    const gram = (delta: Float32Array) => {
      const w = baseOf(state).map((value, at) => value + delta[at]!);
      return Float32Array.from(product(w, w, dIn, dOut, dIn, true));
    };
    const before = gram(new Float32Array(dIn * dOut));
    expect(relativeError(gram(rotated), before)).toBeLessThan(float32Tolerance);
    expect(relativeError(gram(kept), before)).toBeGreaterThan(100 * float32Tolerance);
  }
  expect(espnet.adaptation.sites.some(({ site }) => site.dOut < site.dIn)).toBe(true);
});

describe.each([
  { map: "strict", k: 6 },
  { map: "free", k: 5 },
  { map: "firstOrder", k: 7, gate: true },
  { map: "strict", k: 5, gate: true, espnetCompat: true },
])("with %o", (options) => {
  const build = () => harness("ssvd", { family: "llama", options, targetModules: ["q_proj", "down_proj"] });

  it("the gradient is that of finite differences", async () => {
    const h = await build();
    perturb(h.adaptation, 0.2);
    const batch = randomBatch(h.model);
    const { gradients } = await lossOf(h, batch);
    for (const { key, tensor } of trainedTensors(h.adaptation)) {
      const gradient = gradients[key]!;
      const norm = Math.hypot(...gradient);
      const saved = tensor.data.slice();
      const step = Math.min(key.endsWith("gate") ? 0.3 : 1e-2, 0.02 / norm);
      const lossAt = async (t: number) => {
        tensor.data.forEach((_, i) => (tensor.data[i] = saved[i]! + (t * gradient[i]!) / norm));
        return (await lossOf(h, batch)).loss;
      };
      const slope = ((await lossAt(step)) - (await lossAt(-step))) / (2 * step);
      tensor.data.set(saved);
      // Curvature at this step, and the float32 rounding of a loss near 5.
      expect(Math.abs(slope - norm), key).toBeLessThan(2e-2 * norm + 1e-6 / step);
    }
  });

  it("training, merging and reopening give the same logits", async () => {
    const h = await build();
    const batch = randomBatch(h.model, { positions: 6 });
    await train(h, batch, 3);
    const trained = (await h.programs.logitsAt(batch, lastPlaces(batch))).data;
    const base = (await baseLogits(h.programs, batch)).data;
    expect(relativeError(base, trained)).toBeGreaterThan(1e-3);
    expect(relativeError((await baseLogits(adaptedModel(h), batch)).data, trained)).toBeLessThan(1e-4);
    const folder = join(temporaryDir(), "adapter");
    saveAdaptation(folder, h.adaptation);
    expect(relativeError((await openedLogits(h.model, folder, batch)).logits, trained)).toBeLessThan(1e-4);
  });
});
