import * as tf from "@tensorflow/tfjs-core";
import { describe, expect, it } from "vitest";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { closed, gatePenalty, gateValues, regularisers, type Regulariser } from "../../../server/adapters/structureGates.ts";
import { sharedEngine } from "../../../server/runs/subject.ts";
import { float32 } from "../../../server/tensors/hostTensor.ts";
import { randomStream } from "../../../server/linalg/random.ts";
import type { Adaptation } from "../../../server/training/adaptation.ts";
import { saveAdaptation } from "../../../server/training/saveAdaptation.ts";
import { relativeError } from "../goldens.ts";
import { plantedBatch, plantedModel, trainOver } from "./planted.ts";
import { adaptedModel, baseLogits, harness, lastPlaces, lossOf, openedLogits, perturb, randomBatch, temporaryDir, train, type Harness } from "./harness.ts";
import { lawEngine } from "../../lawEngine.ts";

/** Float32 products in another order. */
const rounding = 1e-6;
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

function setGates({ sites }: Adaptation, alpha: number): void {
  for (const { trained } of sites) trained["gate"]!.data.fill(alpha);
}

/** The same random A and B in every harness, whatever the method. */
function fillFactors({ sites }: Adaptation): void {
  for (const { site, trained } of sites) {
    for (const name of ["loraA", "loraB"]) {
      const random = randomStream(3, site.name, name);
      const { data } = trained[name]!;
      for (let i = 0; i < data.length; i++) data[i] = 0.2 * random.gaussian();
    }
  }
}

const logits = async (h: Harness) => (await h.programs.logitsAt(randomBatch(h.model), lastPlaces(randomBatch(h.model)))).data;
const logitsOff = async (h: Harness) => (await baseLogits(h.programs, randomBatch(h.model))).data;

describe("gates of a structure-learnable adapter (property 1)", () => {
  it.each(regularisers)("are the whole adapter when open, and nothing at all when closed (%s)", async (regulariser) => {
    const h = await harness("structure", { options: { rank: 4, alpha: 8, regulariser } });
    const plain = await harness("lora", { options: { rank: 4, alpha: 8 } });
    fillFactors(h.adaptation);
    fillFactors(plain.adaptation);
    const base = await logitsOff(h);
    setGates(h.adaptation, 200);
    expect(relativeError(await logits(h), await logits(plain))).toBeLessThan(rounding);
    expect(relativeError(await logits(h), base)).toBeGreaterThan(1e-2);
    setGates(h.adaptation, closed);
    expect(await logits(h)).toEqual(base);
  });

  it("add nothing, however far open, while B is zero", async () => {
    const h = await harness("structure", { options: { rank: 4, modules: 2 } });
    const base = await logitsOff(h);
    for (const alpha of [-5, 0, 5]) {
      setGates(h.adaptation, alpha);
      expect(await logits(h)).toEqual(base);
    }
  });

  it("start at one half, every module alike", async () => {
    const {
      adaptation: { sites, method, options },
    } = await harness("structure", { options: { modules: 4 }, tasks: ["a", "b"] });
    const shown = Object.fromEntries(method!.gauges!(options, ["a", "b"]).map((gauge) => [gauge.id, [...gauge.values(sites[0]!)]]));
    expect(shown).toEqual({ gates: [0.5, 0.5], mix: Array.from({ length: 8 }, () => 0.25) });
  });
});

describe("the gradient of a gate (property 2)", () => {
  // y = W x + σ(α) s B A x, so ⟨∂L/∂y, s B A x⟩ = ⟨∂L/∂B, B⟩ / σ(α), and σ'(α) = σ(α)(1 − σ(α)).
  it("is σ'(α) times the slope along the adapter's output, plus λ times that of the regulariser", async () => {
    const lambda = 0.7;
    const h = await harness("structure", { options: { rank: 4, alpha: 8, lambda } });
    perturb(h.adaptation, 0.2);
    const { gradients } = await lossOf(h, randomBatch(h.model));
    for (const { site, trained } of h.adaptation.sites) {
      const alpha = trained["gate"]!.data[0]!;
      const slope = gradients[`${site.name}/loraB`]!.reduce((sum, value, i) => sum + value * trained["loraB"]!.data[i]!, 0);
      const ofPenalty = (lambda * sigmoid(alpha) * (1 - sigmoid(alpha))) / h.adaptation.sites.length;
      expect(gradients[`${site.name}/gate`]![0]!).toBeCloseTo((1 - sigmoid(alpha)) * slope + ofPenalty, 6);
    }
  });

  /** Penalty of two sites, with two and then with more gates, and its gradient. */
  async function penaltyAt(regulariser: Regulariser, alpha: Float32Array): Promise<{ value: number; grad: Float32Array }> {
    const engine = await sharedEngine({ engine: lawEngine });
    const program = await engine.compile(
      `gate penalty ${regulariser}`,
      ({ alpha: given }) => {
        const penalty = (a: tf.Tensor) => gatePenalty([tf.slice(a, [0], [2]), tf.slice(a, [2], [alpha.length - 2])], regulariser) as tf.Scalar;
        const { value, grad } = tf.valueAndGrad(penalty)(given!);
        return { value, grad };
      },
      { inputs: { alpha: { shape: [alpha.length], dtype: "float32" } }, weights: {} },
    );
    const { value, grad } = await program.run({ alpha: float32(alpha, [alpha.length]) });
    return { value: value!.data[0]!, grad: Float32Array.from(grad!.data) };
  }

  it.each(regularisers)("is what finite differences of the penalty give (%s)", async (regulariser) => {
    const values = Float32Array.of(-1.5, -0.2, 0, 0.4, 2);
    const { grad } = await penaltyAt(regulariser, values);
    for (let i = 0; i < values.length; i++) {
      const shifted = async (step: number) =>
        (
          await penaltyAt(
            regulariser,
            values.map((value, k) => (k === i ? value + step : value)),
          )
        ).value;
      // Central differences with step 0.05: curvature leaves 0.05²/6, rounding 1e-6.
      expect(grad[i]!).toBeCloseTo(((await shifted(0.05)) - (await shifted(-0.05))) / 0.1, 3);
    }
  });

  it("comes from penalties that count as their formulas do", async () => {
    const alpha = Float32Array.of(0, Math.log(3), closed); // σ = 1/2, 3/4, 0
    const zero = (2 / 3) * Math.log(0.1 / 1.1);
    const expected: Record<Regulariser, number> = {
      mean: 1.25 / 3,
      sum: 1.25,
      entropy: 0.25 + 0.1875,
      hardConcrete: sigmoid(-zero) + sigmoid(Math.log(3) - zero),
    };
    for (const regulariser of regularisers) expect((await penaltyAt(regulariser, alpha)).value, regulariser).toBeCloseTo(expected[regulariser], 5);
  });

  it("closes hard-concrete gates at a finite number", () => {
    expect([...gateValues(Float32Array.of(-3, 0, 3), "hardConcrete")]).toEqual([0, 0.5, 1]);
  });
});

describe("tasks", () => {
  const tasks = ["first", "second"];
  const options = { rank: 4, alpha: 8, modules: 3 };

  /** Two tasks with structures of their own over the same modules. */
  async function twoTasks(): Promise<Harness> {
    const h = await harness("structure", { options, tasks });
    perturb(h.adaptation, 0.3);
    h.adaptation.sites[0]!.trained["gate"]!.data.set([closed, 4]);
    h.adaptation.sites[1]!.trained["mix"]!.data.set([5, 0, 0, 0, 0, 5]);
    return h;
  }

  it("each see their own structure, in one batch", async () => {
    const h = await twoTasks();
    const { method, sites, options: parsed } = h.adaptation;
    const batch = randomBatch(h.model, { rows: 4, tasks: 2 });
    const mixed = (await h.programs.logitsAt(batch, lastPlaces(batch))).data;
    const width = mixed.length / batch.rows;
    for (const task of [0, 1]) {
      const ofTask: Harness = {
        ...h,
        adaptation: { ...h.adaptation, method: { ...method!, deltaWeight: (state, given) => method!.deltaWeight(state, given, task) } },
      };
      const merged = (await baseLogits(adaptedModel(ofTask), batch)).data;
      for (let row = task; row < batch.rows; row += 2)
        expect(relativeError(mixed.slice(row * width, (row + 1) * width), merged.slice(row * width, (row + 1) * width))).toBeLessThan(1e-5);
    }
    const [first, second] = [0, 1].map((task) => method!.deltaWeight(sites[0]!, parsed, task).left);
    expect(Math.max(...first!.map(Math.abs))).toBe(0);
    expect(Math.max(...second!.map(Math.abs))).toBeGreaterThan(0.1);
  });

  it("of a saved adapter open one at a time, by name", async () => {
    const h = await twoTasks();
    const folder = join(temporaryDir(), "adapter");
    saveAdaptation(folder, h.adaptation);
    const config = join(folder, "adapter_config.json");
    for (const [index, task] of tasks.entries()) {
      const about: Record<string, unknown> = JSON.parse(readFileSync(config, "utf8"));
      writeFileSync(config, JSON.stringify({ ...about, structure_active_task: task }));
      const batch = { ...randomBatch(h.model), tasks: new Int32Array(3).fill(index) };
      const opened = await openedLogits(h.model, folder, batch);
      expect(opened.warnings).toEqual([]);
      expect(relativeError(opened.logits, (await h.programs.logitsAt(batch, lastPlaces(batch))).data)).toBeLessThan(1e-4);
    }
    writeFileSync(config, readFileSync(config, "utf8").replace(`"structure_active_task":"second"`, `"structure_active_task":"third"`));
    await expect(openedLogits(h.model, folder, randomBatch(h.model))).rejects.toThrow(/"third"; expected one of first, second/);
  });

  it("take gradients only from their own rows", async () => {
    const h = await twoTasks();
    const batch = { ...randomBatch(h.model), tasks: new Int32Array(3) };
    const { gradients } = await lossOf(h, batch);
    for (const { site } of h.adaptation.sites) {
      const mix = gradients[`${site.name}/mix`]!;
      expect(Math.hypot(...mix.subarray(3))).toBe(0);
    }
    expect(h.adaptation.sites.some(({ site }) => Math.hypot(...gradients[`${site.name}/mix`]!.subarray(0, 3)) > 1e-6)).toBe(true);
  });

  it("have one gate, and one weight a module, at every site", async () => {
    const {
      adaptation: { method, options: parsed, sites },
    } = await harness("structure", { options, tasks });
    const { dIn, dOut } = sites[0]!.site;
    expect(method!.parameterCount(sites[0]!.site, parsed, 2)).toBe(3 * 4 * (dIn + dOut) + 2 * (1 + 3));
  });
});

describe("the end of the search", () => {
  it("closes gates of one half or less for good, and leaves the others to train", async () => {
    const h = await harness("structure", { options: { rank: 4, searchShare: 0.5, lambda: 0, gateRate: 0.05 } });
    perturb(h.adaptation, 0.1);
    const [low, high] = [h.adaptation.sites.slice(0, 3), h.adaptation.sites.slice(3)];
    low.forEach(({ trained }) => (trained["gate"]!.data[0] = -2));
    high.forEach(({ trained }) => (trained["gate"]!.data[0] = 2));
    await train(h, randomBatch(h.model), 10, { learningRate: 1e-3 });
    for (const { trained } of low) expect(trained["gate"]!.data[0]).toBe(closed);
    for (const { trained } of high) {
      expect(trained["gate"]!.data[0]).toBeGreaterThan(1);
      expect(trained["gate"]!.data[0]).not.toBe(2);
    }
  });

  it("says how many gates it closed, once", async () => {
    const {
      adaptation: { method, options, sites },
    } = await harness("structure", { options: { searchShare: 0.8 } });
    sites[2]!.trained["gate"]!.data[0] = 1;
    const note = (step: number) =>
      method!.afterStep!({ options, step, totalSteps: 10, sites, gradient: () => new Float32Array(), random: () => randomStream(0) }).note;
    expect([7, 8, 9].map(note)).toEqual([null, "search ended: 5 of 6 gates closed", null]);
  });

  it("changes logits in proportion to the gates it closes (property 3)", async () => {
    const h = await harness("structure", { options: { rank: 4, alpha: 8 } });
    fillFactors(h.adaptation);
    const base = await logitsOff(h);
    const change = async (share: number) => {
      setGates(h.adaptation, Math.log(share / (1 - share)));
      return relativeError(await logits(h), base);
    };
    const [large, small] = [await change(1e-2), await change(1e-3)];
    expect(large).toBeLessThan(1); // C of this model, for ε = 1e-2
    expect(large / small).toBeGreaterThan(9);
    expect(large / small).toBeLessThan(11);
  });
});

it("closes the planted site's gate last as the sparsity grows, and the sum of gates falls all the way (property 3)", async () => {
  const goal = "blocks.1.mlp.in";
  const planted = await plantedModel(goal, 4);
  const batches = await Promise.all([1, 2, 3, 4].map((seed) => plantedBatch(planted, seed)));
  const paths: Map<string, number>[] = [];
  for (const lambda of [0.01, 0.03, 0.1, 0.3, 1]) {
    const h = await harness("structure", { options: { rank: 4, alpha: 8, lambda, regulariser: "sum", gateRate: 0.05 }, seed: 2 });
    await trainOver(h, batches, 150, 3e-3);
    paths.push(new Map(h.adaptation.sites.map(({ site, trained }) => [site.name, sigmoid(trained["gate"]!.data[0]!)])));
  }
  const sums = paths.map((path) => [...path.values()].reduce((total, value) => total + value, 0));
  for (let i = 1; i < sums.length; i++) expect(sums[i]!, sums.join(" ")).toBeLessThan(sums[i - 1]!);
  expect(sums.at(-1)!).toBeLessThan(0.5);
  for (const path of paths) expect([...path].sort((a, b) => b[1] - a[1])[0]![0]).toBe(goal);
});
