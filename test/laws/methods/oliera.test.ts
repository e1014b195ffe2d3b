import * as tf from "@tensorflow/tfjs-core";
import { describe, expect, it } from "vitest";
import { join } from "node:path";
import { orders, orthogonalities, overlap, relativeChange, relativeChangeOf, type Order, type Orthogonality } from "../../../server/adapters/olieraTerms.ts";
import { sharedEngine } from "../../../server/runs/subject.ts";
import { denseProduct, singularValues } from "../../../server/linalg/factored.ts";
import { float32 } from "../../../server/tensors/hostTensor.ts";
import { gaussians, randomStream } from "../../../server/linalg/random.ts";
import { trainedTensors } from "../../../server/training/adaptation.ts";
import { saveAdaptation } from "../../../server/training/saveAdaptation.ts";
import { relativeError } from "../goldens.ts";
import {
  adaptedModel,
  baseLogits,
  harness,
  lastPlaces,
  lossOf,
  openedLogits,
  perturb,
  randomBatch,
  temporaryDir,
  train,
  type Harness,
  type HarnessOptions,
} from "./harness.ts";
import { lawEngine } from "../../lawEngine.ts";

const options = { rank: 4, alpha: 4 };
const logitTolerance = 1e-4;
const logits = async (h: Harness) => (await h.programs.logitsAt(randomBatch(h.model), lastPlaces(randomBatch(h.model)))).data;
const logitsOff = async (h: Harness) => (await baseLogits(h.programs, randomBatch(h.model))).data;

/** An adapter of a task before: random factors, saved. */
async function earlierFolder(more: object = {}, about: HarnessOptions = {}, seed = 21): Promise<{ folder: string; h: Harness }> {
  const h = await harness("oliera", { ...about, options: { ...options, ...more }, seed });
  perturb(h.adaptation, 0.2, seed);
  const folder = join(temporaryDir(), `task-${seed}`);
  saveAdaptation(folder, h.adaptation);
  return { folder, h };
}

describe("the multiplicative update", () => {
  it.each(orders)("starts at a factor of 1 everywhere (order %s)", async (order) => {
    const h = await harness("oliera", { options: { ...options, order } });
    expect(await logits(h)).toEqual(await logitsOff(h));
    for (const state of h.adaptation.sites) expect(Math.max(...h.adaptation.method!.denseDelta!(state, h.adaptation.options).map(Math.abs))).toBe(0);
  });

  it.each(orders)("merged is unmerged, for weights of both orientations (order %s)", async (order) => {
    for (const [family, targetModules] of [
      ["gpt2", ["c_attn", "c_fc"]],
      ["llama", ["q_proj", "down_proj"]],
    ] as const) {
      const h = await harness("oliera", { family, targetModules: [...targetModules], options: { ...options, order } });
      perturb(h.adaptation, 0.2);
      expect(relativeError(await logitsOff({ ...h, programs: adaptedModel(h) }), await logits(h))).toBeLessThan(logitTolerance);
      expect(relativeError(await logits(h), await logitsOff(h))).toBeGreaterThan(10 * logitTolerance);
    }
  });

  it("keeps the sign of every weight when exact, and has full rank from a low-rank exponent", async () => {
    const h = await harness("oliera", { options: { ...options, rank: 1, alpha: 1 } });
    perturb(h.adaptation, 1);
    const { method, sites, options: parsed } = h.adaptation;
    const state = sites[0]!;
    const { dIn, dOut, stored, baseWeight } = state.site;
    const delta = method!.denseDelta!(state, parsed);
    const base = baseWeight.data();
    for (let o = 0; o < dOut; o++)
      for (let i = 0; i < dIn; i++) {
        const w = base[stored === "outIn" ? o * dIn + i : i * dOut + o]!;
        expect(Math.sign(w + delta[o * dIn + i]!)).toBe(Math.sign(w));
      }
    const values = singularValues(method!.deltaWeight(state, parsed));
    expect(values.filter((value) => value > 1e-6 * values[0]!)).toHaveLength(Math.min(dIn, dOut));
  });

  it("to first order is W ⊙ s·B·A", async () => {
    const h = await harness("oliera", { options: { rank: 3, alpha: 6, order: "first" } });
    perturb(h.adaptation, 0.2);
    const state = h.adaptation.sites[1]!;
    const {
      site: { dIn, dOut, stored, baseWeight },
      trained,
    } = state;
    const product = denseProduct({ left: trained["loraB"]!.data, right: trained["loraA"]!.data, dOut, dIn, rank: 3, scale: 2 });
    const base = baseWeight.data();
    const expected = product.map((value, at) => value * base[stored === "outIn" ? at : (at % dIn) * dOut + Math.floor(at / dIn)]!);
    expect(relativeError(h.adaptation.method!.denseDelta!(state, h.adaptation.options), expected)).toBeLessThan(1e-6);
  });

  it("to first order and rank 1 gives the same through r products with W as through W ⊙ B·A", async () => {
    const first = await harness("oliera", { options: { rank: 1, alpha: 1, order: "first" } });
    perturb(first.adaptation, 0.3);
    // Rank 2 with an empty second direction takes the dense way.
    const second = await harness("oliera", { options: { rank: 2, alpha: 2, order: "first" } });
    second.adaptation.sites.forEach(({ site: { dOut }, trained }, i) => {
      const other = first.adaptation.sites[i]!.trained;
      trained["loraA"]!.data.set(other["loraA"]!.data);
      for (let o = 0; o < dOut; o++) trained["loraB"]!.data[2 * o] = other["loraB"]!.data[o]!;
    });
    const batch = randomBatch(first.model);
    const [a, b] = await Promise.all([lossOf(first, batch), lossOf(second, batch)]);
    expect(a.loss).toBeCloseTo(b.loss, 6);
    for (const {
      site: { name, dIn },
    } of first.adaptation.sites)
      expect(relativeError(a.gradients[`${name}/loraA`]!, b.gradients[`${name}/loraA`]!.slice(0, dIn)), name).toBeLessThan(1e-4);
  });

  it.each(orders)("has the gradient that finite differences give (order %s)", async (order) => {
    const h = await harness("oliera", { options: { ...options, order } });
    perturb(h.adaptation, 0.2);
    await expectGradients(h);
  });
});

/** Along the gradient itself the slope is its norm; central differences of a float32 loss leave about 1e-3. */
async function expectGradients(h: Harness): Promise<void> {
  const batch = randomBatch(h.model);
  const { gradients } = await lossOf(h, batch);
  for (const { key, tensor } of trainedTensors(h.adaptation).slice(0, 4)) {
    const gradient = gradients[key]!;
    const norm = Math.hypot(...gradient);
    expect(norm, key).toBeGreaterThan(1e-5);
    const saved = tensor.data.slice();
    const step = Math.min(1e-2, 0.02 / norm);
    const lossAt = async (t: number) => {
      for (let i = 0; i < saved.length; i++) tensor.data[i] = saved[i]! + (t * gradient[i]!) / norm;
      return (await lossOf(h, batch)).loss;
    };
    const slope = ((await lossAt(step)) - (await lossAt(-step))) / (2 * step);
    tensor.data.set(saved);
    expect(Math.abs(slope - norm) / norm, `${key}: slope ${slope}, gradient ${norm}`).toBeLessThan(2e-2);
  }
}

describe("Taylor orders", () => {
  const taylor: readonly Order[] = ["first", "second", "third"];

  it("come nearer to exp with each term, each with the error of the next one", () => {
    for (const exponent of [-0.4, 0.3]) {
      const errors = taylor.map((order) => Math.abs(relativeChangeOf(exponent, order) - relativeChangeOf(exponent, "exact")));
      const next = [exponent ** 2 / 2, Math.abs(exponent) ** 3 / 6, exponent ** 4 / 24];
      errors.forEach((error, i) => expect(error / next[i]!).toBeCloseTo(1, 0));
      expect(errors[1]!).toBeLessThan(errors[0]! / 4);
      expect(errors[2]!).toBeLessThan(errors[1]! / 4);
    }
  });

  it("give logits nearer to the exact ones with each term", async () => {
    const of = async (order: Order) => {
      const h = await harness("oliera", { options: { ...options, order } });
      perturb(h.adaptation, 0.3);
      return logits(h);
    };
    const exact = await of("exact");
    const [first, second, third] = await Promise.all(taylor.map(async (order) => relativeError(await of(order), exact)));
    expect(second!).toBeLessThan(first! / 2);
    expect(third!).toBeLessThan(second! / 2);
    expect(first!).toBeGreaterThan(1e-3);
  });

  it("first leaves the group at δ = −1, where the second and exp stay above one half and zero", () => {
    expect(1 + relativeChangeOf(-1, "first")).toBe(0);
    expect(1 + relativeChangeOf(-1.5, "first")).toBeLessThan(0);
    for (const exponent of [-5, -2, -1, -0.5, 0, 3]) {
      expect(1 + relativeChangeOf(exponent, "second")).toBeGreaterThanOrEqual(0.5);
      expect(1 + relativeChangeOf(exponent, "exact")).toBeGreaterThan(0);
    }
  });

  it("first says so: the smallest factor is shown, and turns negative", async () => {
    const {
      adaptation: { method, sites, options: parsed },
    } = await harness("oliera", { options: { rank: 1, alpha: 1, order: "first" } });
    const gauge = method!.gauges!(parsed, ["all"]).find(({ id }) => id === "factor")!;
    expect(gauge.values(sites[0]!)[0]).toBe(1);
    const { loraA, loraB } = sites[0]!.trained;
    loraA!.data.fill(0);
    loraA!.data[3] = 1;
    loraB!.data[5] = -1.5;
    expect(gauge.values(sites[0]!)[0]).toBe(-0.5);
    const { dIn, dOut } = sites[0]!.site;
    expect(method!.gauges!(parsed, ["all"])[0]!.values(sites[0]!)[0]).toBeCloseTo(1.5 / Math.sqrt(dIn * dOut), 6);
  });

  it("are the same in programs as on the host", async () => {
    const engine = await sharedEngine({ engine: lawEngine });
    const values = Float32Array.of(-3, -0.6, -1e-4, 0, 1e-6, 0.2, 1.5);
    for (const order of orders) {
      const program = await engine.compile(`relative change ${order}`, ({ x }) => ({ y: relativeChange(x!, order) }), {
        inputs: { x: { shape: [7], dtype: "float32" } },
        weights: {},
      });
      const { y } = await program.run({ x: float32(values, [7]) });
      values.forEach((value, i) =>
        expect(Math.abs(y!.data[i]! - relativeChangeOf(value, order))).toBeLessThanOrEqual(1e-6 * Math.abs(relativeChangeOf(value, order))),
      );
    }
  });
});

describe("earlier tasks", () => {
  it("are part of the model from the start, and their exponents add: W ⊙ exp(Δ1 + Δ2)", async () => {
    const { folder, h: before } = await earlierFolder({ rank: 2, alpha: 5 }); // another scale than the task's own
    const h = await harness("oliera", { options: { ...options, earlier: [folder] } });
    expect(relativeError(await logits(h), await logits(before))).toBeLessThan(logitTolerance);
    perturb(h.adaptation, 0.2);
    const state = h.adaptation.sites[0]!;
    const { dIn, dOut, stored, baseWeight } = state.site;
    const [one, two] = [before.adaptation.sites[0]!.trained, state.trained];
    const d1 = denseProduct({ left: one["loraB"]!.data, right: one["loraA"]!.data, dOut, dIn, rank: 2, scale: 2.5 });
    const d2 = denseProduct({ left: two["loraB"]!.data, right: two["loraA"]!.data, dOut, dIn, rank: 4, scale: 1 });
    const base = baseWeight.data();
    const expected = d1.map(
      (value, at) => base[stored === "outIn" ? at : (at % dIn) * dOut + Math.floor(at / dIn)]! * (Math.exp(value) * Math.exp(d2[at]!) - 1),
    );
    expect(relativeError(h.adaptation.method!.denseDelta!(state, h.adaptation.options), expected)).toBeLessThan(1e-5);
    expect(relativeError(await logitsOff({ ...h, programs: adaptedModel(h) }), await logits(h))).toBeLessThan(logitTolerance);
  });

  it("are saved with the new one, so that the last folder is the whole model and its tasks can be told apart", async () => {
    const one = await earlierFolder({ rank: 2, alpha: 5 });
    const second = await harness("oliera", { options: { ...options, earlier: [one.folder] }, seed: 2 });
    perturb(second.adaptation, 0.2);
    const folder = join(temporaryDir(), "second");
    saveAdaptation(folder, second.adaptation);
    const batch = randomBatch(second.model);
    expect(relativeError((await openedLogits(second.model, folder, batch)).logits, await logits(second))).toBeLessThan(logitTolerance);
    const third = await harness("oliera", { options: { rank: 3, alpha: 3, earlier: [folder] } });
    expect(relativeError(await logits(third), await logits(second))).toBeLessThan(logitTolerance);
    const { frozen } = third.adaptation.sites[0]!;
    expect(Object.entries(frozen).map(([name, { shape }]) => [name, shape[name.startsWith("earlierA") ? 0 : 1]])).toEqual([
      ["earlierA0", 2],
      ["earlierB0", 2],
      ["earlierA1", 4],
      ["earlierB1", 4],
    ]);
  });

  it("stay as they were while the next one trains", async () => {
    const { folder } = await earlierFolder();
    const h = await harness("oliera", { options: { ...options, earlier: [folder], orthogonality: "centred", lambda: 0.1 } });
    const frozen = () => h.adaptation.sites.flatMap(({ frozen: held }) => Object.values(held).map((weight) => weight.data().slice()));
    const before = frozen();
    const losses = await train(h, randomBatch(h.model), 10);
    expect(losses.at(-1)!).toBeLessThan(losses[0]!);
    expect(frozen()).toEqual(before);
  });

  it("are refused when they are of another order, another method or other sites", async () => {
    const { folder } = await earlierFolder({ order: "first" });
    await expect(harness("oliera", { options: { ...options, earlier: [folder] } })).rejects.toThrow(/order "first"; expected "exact"/);
    const attention = await earlierFolder({}, { targetModules: ["c_attn"] });
    await expect(harness("oliera", { options: { ...options, earlier: [attention.folder] } })).rejects.toThrow(/no adapter at "blocks.0.mlp.in"/);
    const wider = await earlierFolder();
    const narrow = await harness("oliera", { options: { ...options, earlier: [wider.folder] }, targetModules: ["c_attn"] });
    await expect(lossOf(narrow, randomBatch(narrow.model))).rejects.toThrow(/mlp.c_fc.lora_A.weight", a site that is not trained now/);
    const plain = await harness("lora", { options: { rank: 2 } });
    const other = join(temporaryDir(), "lora");
    saveAdaptation(other, plain.adaptation);
    await expect(harness("oliera", { options: { ...options, earlier: [other] } })).rejects.toThrow(/peft_type "LORA"/);
  });

  it("cannot be opened without the base they multiply", async () => {
    const { loadAdapter } = await import("../../../server/adapters/loadAdapter.ts");
    const { folder } = await earlierFolder();
    expect(() => loadAdapter(folder, "a", null)).toThrow(/opens only on its base/);
  });
});

describe("the orthogonality term", () => {
  const [dOut, dIn, rank] = [64, 48, 3];

  /** The term of two tasks of random factors of the given size, and its gradient by A of the second. */
  async function term(
    form: Exclude<Orthogonality, "none">,
    std: number,
    order: Order = "exact",
  ): Promise<{ value: number; gradient: Float32Array; factors: Record<string, Float32Array> }> {
    const engine = await sharedEngine({ engine: lawEngine });
    const shapes = { a1: [rank, dIn], b1: [dOut, rank], a2: [rank, dIn], b2: [dOut, rank] };
    const factors = Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, gaussians(shape[0]! * shape[1]!, std, randomStream(6, name))]));
    const program = await engine.compile(
      `overlap ${form} ${order}`,
      ({ a1, b1, a2, b2 }) => {
        const of = (a: tf.Tensor) =>
          overlap(form, order, { a: a1!, exponent: () => tf.matMul(b1!, a1!) }, { a, exponent: () => tf.matMul(b2!, a) }) as tf.Scalar;
        const { value, grad } = tf.valueAndGrad(of)(a2!);
        return { value, grad };
      },
      { inputs: Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, { shape, dtype: "float32" }])), weights: {} },
    );
    const out = await program.run(Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, float32(factors[name]!, shape)])));
    return { value: out["value"]!.data[0]!, gradient: Float32Array.from(out["grad"]!.data), factors };
  }

  it("is dOut · dIn a pair as the paper has it when both exponents are 0, and never less than all its positive products", async () => {
    expect((await term("faithful", 0)).value).toBeCloseTo(dOut * dIn, 1);
    expect((await term("faithful", 0.3)).value).toBeGreaterThan(1000);
  });

  it("is 0 in its other forms when the exponents are 0, with a gradient that is 0 and not NaN", async () => {
    for (const form of ["centred", "lie", "l1"] as const) {
      const { value, gradient } = await term(form, 0);
      expect(value, form).toBeLessThanOrEqual(1.1e-6); // the root's floor
      expect(
        [...gradient].every((slope) => slope === 0),
        form,
      ).toBe(true);
    }
  });

  it("is what its formulas say, for random factors", async () => {
    for (const order of ["exact", "first"] as const) {
      const { factors } = await term("lie", 0.4);
      const dense = (task: 1 | 2) =>
        denseProduct({ left: factors[`b${task}`]!, right: factors[`a${task}`]!, dOut, dIn, rank, scale: 1 }).map((value) => relativeChangeOf(value, order));
      const norm = (x: Float32Array, y: Float32Array, shift: number) => {
        let squares = 0;
        for (let i = 0; i < dOut; i++)
          for (let j = 0; j < dOut; j++) {
            let dot = 0;
            for (let k = 0; k < dIn; k++) dot += (x[i * dIn + k]! + shift) * (y[j * dIn + k]! + shift);
            squares += dot * dot;
          }
        return Math.sqrt(squares);
      };
      const [one, two] = [dense(1), dense(2)];
      expect((await term("faithful", 0.4, order)).value / norm(one, two, 1)).toBeCloseTo(1, 4);
      expect((await term("centred", 0.4, order)).value / norm(one, two, 0)).toBeCloseTo(1, 4);
      const products = Array.from({ length: rank * rank }, (_, at) => {
        const [i, j] = [Math.floor(at / rank), at % rank];
        return factors["a1"]!.subarray(i * dIn, (i + 1) * dIn).reduce((sum, value, k) => sum + value * factors["a2"]![j * dIn + k]!, 0);
      });
      const sumOf = (of: (value: number) => number) => products.reduce((sum, value) => sum + of(value), 0);
      expect((await term("lie", 0.4, order)).value / sumOf((value) => value ** 2)).toBeCloseTo(1, 4);
      expect((await term("l1", 0.4, order)).value / sumOf(Math.abs)).toBeCloseTo(1, 4);
    }
  });

  it.each(orthogonalities.filter((form) => form !== "none"))("adds to the loss with the gradient that finite differences give (%s)", async (form) => {
    // λ so that the term weighs about as much as the task: the faithful one counts thousands a site.
    const lambda = { faithful: 3e-5, centred: 1e-2, lie: 0.5, l1: 0.01 }[form];
    const { folder } = await earlierFolder();
    for (const family of [{ family: "gpt2" }, { family: "llama", targetModules: ["q_proj", "down_proj"] }]) {
      const earlier = family.family === "gpt2" ? folder : (await earlierFolder({}, family)).folder;
      const h = await harness("oliera", { ...family, options: { ...options, earlier: [earlier], orthogonality: form, lambda } });
      const off = await harness("oliera", { ...family, options: { ...options, earlier: [earlier], orthogonality: "none" } });
      perturb(h.adaptation, 0.2);
      perturb(off.adaptation, 0.2);
      const batch = randomBatch(h.model);
      expect((await lossOf(h, batch)).loss).toBeGreaterThan((await lossOf(off, batch)).loss + 0.05);
      await expectGradients(h);
    }
  });

  it("drives the rows of A apart in training, in its Lie-algebra form", async () => {
    const { folder, h: before } = await earlierFolder();
    const overlapAfter = async (lambda: number) => {
      const h = await harness("oliera", { options: { ...options, earlier: [folder], lambda } });
      await train(h, randomBatch(h.model), 40);
      return h.adaptation.sites.reduce((sum, { site: { dIn }, trained }, s) => {
        const [one, two] = [before.adaptation.sites[s]!.trained["loraA"]!.data, trained["loraA"]!.data];
        for (let i = 0; i < 4; i++)
          for (let j = 0; j < 4; j++) sum += one.subarray(i * dIn, (i + 1) * dIn).reduce((dot, value, k) => dot + value * two[j * dIn + k]!, 0) ** 2;
        return sum;
      }, 0);
    };
    expect(await overlapAfter(0.5)).toBeLessThan(0.05 * (await overlapAfter(0)));
  });
});
