/** What an engine owes besides right numbers: caches that find and forget, small graphs, clear errors, no leaks. */
import * as tf from "@tensorflow/tfjs-core";
import { afterEach, describe, expect, it } from "vitest";
import { geluTanh } from "../../server/tensors/activations.ts";
import type { Engine, ProgramFunction, Signature, Weight } from "../../server/tensors/engine.ts";
import { withFastGelu } from "../../server/tensors/fusions.ts";
import type { Fusion } from "../../server/tensors/graph.ts";
import { float32, int32 } from "../../server/tensors/hostTensor.ts";
import { createEngine, parseEngineName } from "../../server/tensors/providers.ts";
import { loadOrt, OnnxEngine } from "../../server/tensors/onnx.ts";
import { trace } from "../../server/tensors/traceBackend.ts";

const alwaysHere = ["onnx-cpu", "wasm"] as const;
const cpuGraph = { fusedMatMul: true, broadcastPow: true, decodesHalves: true };
const vector = (...values: number[]) => float32(Float32Array.from(values), [values.length]);
const ofTwo: Signature = { inputs: { x: { shape: [2], dtype: "float32" } }, weights: {} };

let engine: Engine | undefined;
afterEach(async () => {
  await engine?.dispose();
  expect(tf.memory().numTensors, "tensors left behind").toBe(0);
});

describe.each(alwaysHere)("%s", (name) => {
  it("compiles a program once per key and shapes", async () => {
    engine = await createEngine(name);
    let traces = 0;
    const double = ({ x }: Record<string, tf.Tensor>) => {
      traces++;
      return { y: tf.mul(x!, 2) };
    };
    const first = await engine.compile("double", double, ofTwo);
    expect(await engine.compile("double", double, ofTwo)).toBe(first);
    const longer = { inputs: { x: { shape: [3], dtype: "float32" } }, weights: {} } as const;
    expect(await engine.compile("double", double, longer)).not.toBe(first);
    expect(engine.memory().programs).toBe(2);
    if (name === "onnx-cpu") expect(traces, "runs must not trace again").toBe(2);
  });

  it("names the input or weight that is missing or misshapen, and says what was expected", async () => {
    engine = await createEngine(name);
    const program = await engine.compile("shifted", ({ x }, { w }) => ({ y: tf.add(x!, w!) }), { ...ofTwo, weights: { w: [2] } });
    const w: Weight = { key: "w", shape: [2], data: () => Float32Array.of(1, 1) };
    await expect(program.run({}, { w })).rejects.toMatchObject({ code: "program.badInput", message: expect.stringContaining('"x" is missing') as string });
    await expect(program.run({ x: vector(1, 2, 3) }, { w })).rejects.toThrow('"x" is float32 [3]; expected float32 [2]');
    await expect(program.run({ x: int32([1, 2], [2]) }, { w })).rejects.toThrow("expected float32 [2]");
    await expect(program.run({ x: vector(1, 2) })).rejects.toThrow('weight "w" is missing');
    await expect(program.run({ x: vector(1, 2) }, { w: { ...w, shape: [1, 2] } })).rejects.toThrow('weight "w" is [1, 2]; expected [2]');
  });

  it("runs at the same time do not disturb each other", async () => {
    engine = await createEngine(name);
    const square = await engine.compile("square", ({ x }) => ({ y: tf.square(x!) }), ofTwo);
    const found = await Promise.all([1, 2, 3, 4].map((value) => square.run({ x: vector(value, -value) })));
    expect(found.map(({ y }) => [...y!.data])).toEqual([
      [1, 1],
      [4, 4],
      [9, 9],
      [16, 16],
    ]);
  });

  it("neither tensors nor memory grow over a thousand runs", async () => {
    engine = await createEngine(name);
    const x = float32(new Float32Array(64 * 64).fill(0.1), [64, 64]);
    const w: Weight = { key: "w", shape: [64, 64], data: () => new Float32Array(64 * 64).fill(0.01) };
    const program = await engine.compile(
      "step",
      ({ x }, { w }) => {
        const loss = (one: tf.Tensor): tf.Scalar => tf.mean(tf.square(tf.tanh(tf.matMul(one, w!, false, true))));
        return { loss: loss(x!), dx: tf.grad(loss)(x!) };
      },
      { inputs: { x }, weights: { w: w.shape } },
    );
    const runs = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i++) await program.run({ x }, { w });
    };
    await runs(200);
    const [tensors, rss] = [tf.memory().numTensors, process.memoryUsage.rss()];
    await runs(1000);
    expect(tf.memory().numTensors).toBe(tensors);
    // 1000 runs that each kept their 16 KiB results and feeds would hold at least 32 MiB more; the garbage collector's slack is below that.
    expect((process.memoryUsage.rss() - rss) / 2 ** 20).toBeLessThan(32);
  });
});

describe("onnx-cpu", () => {
  it("holds no more programs than its bound, frees what it gives up, and still runs a program given up", async () => {
    const small = (engine = new OnnxEngine("onnx-cpu", await loadOrt(), { maxPrograms: 4, threads: 1 }));
    const make = (i: number) => small.compile(`plus ${i}`, ({ x }) => ({ y: tf.add(x!, i) }), ofTwo);
    const first = await make(0);
    for (let i = 1; i < 40; i++) await make(i);
    const rss = process.memoryUsage.rss();
    for (let i = 40; i < 240; i++) await make(i);
    expect(small.memory().programs).toBeLessThanOrEqual(16);
    // A session of this size holds some 200 KiB: 200 kept ones would be 40 MiB.
    expect((process.memoryUsage.rss() - rss) / 2 ** 20).toBeLessThan(25);
    const { y } = await first.run({ x: vector(1, 2) });
    expect([...y!.data]).toEqual([1, 2]);
  });

  it("feeds a weight as the memory it lies in", async () => {
    engine = await createEngine("onnx-cpu");
    const values = new Float32Array(2 ** 22).fill(1);
    const w: Weight = { key: "w", shape: [2 ** 22], data: () => values };
    const program = await engine.compile("total", (_inputs, { w }) => ({ y: tf.sum(w!) }), { inputs: {}, weights: { w: w.shape } });
    expect((await program.run({}, { w }))["y"]!.data[0]).toBe(2 ** 22);
    expect(engine.memory().weightBytes).toBe(0);
  });

  it("names the kernel that has no lowering", async () => {
    engine = await createEngine("onnx-cpu");
    const signature = { inputs: { x: { shape: [2, 2], dtype: "float32" } }, weights: {} } as const;
    const compiled = engine.compile("resized", ({ x }) => ({ y: tf.image.resizeBilinear(tf.reshape<tf.Rank.R3>(x!, [2, 2, 1]), [4, 4]) }), signature);
    await expect(compiled).rejects.toMatchObject({ code: "engine.unsupportedOp", message: expect.stringContaining("ResizeBilinear") as string });
  });

  it("refuses a program that reads values while it is traced", async () => {
    engine = await createEngine("onnx-cpu");
    await expect(engine.compile("peek", ({ x }) => ({ y: tf.mul(x!, x!.dataSync()[0]!) }), ofTwo)).rejects.toThrow("read the values of a float32 [2] tensor");
  });

  it("a trace that fails leaves the engine usable", async () => {
    engine = await createEngine("onnx-cpu");
    await expect(
      engine.compile(
        "bad",
        () => {
          throw new Error("mine");
        },
        ofTwo,
      ),
    ).rejects.toThrow("mine");
    const program = await engine.compile("good", ({ x }) => ({ y: tf.neg(x!) }), ofTwo);
    expect([...(await program.run({ x: vector(1, 2) }))["y"]!.data]).toEqual([-1, -2]);
  });
});

describe("a trace", () => {
  const bytesOf = (fn: Parameters<typeof trace>[1], signature: Signature): { bytes: number; nodes: number } => {
    const { graph, outputs } = trace("test", fn, signature, cpuGraph);
    const { bytes, nodeCount } = graph.toModel({ ...outputs });
    return { bytes: bytes.length, nodes: nodeCount };
  };
  const large: Signature = { inputs: { x: { shape: [512, 512], dtype: "float32" } }, weights: {} };

  it("keeps uniform constants symbolic, however large", () => {
    const { bytes } = bytesOf(({ x }) => {
      const filled = tf.add(tf.mul(tf.ones([512, 512]), x!), tf.fill([512, 512], 3));
      return {
        y: tf.grad((one) => tf.sum(tf.where(tf.greater(one, 0), one, tf.zerosLike(one))))(
          tf.sub(filled, tf.tensor2d(new Float32Array(512 * 512).fill(7), [512, 512])),
        ),
      };
    }, large);
    expect(bytes).toBeLessThan(2000);
  });

  it("keeps one node for equal work, and none that no output needs", () => {
    const { nodes } = bytesOf(({ x }) => {
      tf.exp(x!);
      return { y: tf.add(tf.tanh(x!), tf.tanh(x!)), z: tf.tanh(x!) };
    }, large);
    // Tanh, Add, and one copy for each output.
    expect(nodes).toBe(4);
  });

  it("never transposes a frozen weight", () => {
    const { graph, outputs } = trace(
      "linear",
      ({ x }, { w }) => ({ dx: tf.grad((one: tf.Tensor) => tf.sum(tf.square(tf.matMul(one, w!, false, true))))(x!) }),
      { inputs: { x: { shape: [2, 4, 8], dtype: "float32" } }, weights: { w: [16, 8] } },
      cpuGraph,
    );
    const text = new TextDecoder().decode(graph.toModel({ ...outputs }).bytes);
    expect(text).toContain("FusedMatMul");
    expect(text).not.toContain("Transpose");
  });

  it("has GELU as one node where only its value is read, and as the chain that it is where its slope is too", () => {
    const ops = (fn: ProgramFunction, fuse: Fusion): string => {
      const { graph, outputs } = trace("gelu", fn, { inputs: { x: { shape: [2, 4, 8], dtype: "float32" } }, weights: {} }, cpuGraph);
      return new TextDecoder().decode(graph.toModel({ ...outputs }, fuse).bytes);
    };
    const forward: ProgramFunction = ({ x }) => ({ y: tf.neg(geluTanh(x!)), x1: tf.abs(x!) });
    expect(ops(forward, withFastGelu)).toMatch(/FastGelu/);
    expect(ops(forward, withFastGelu)).not.toMatch(/Sigmoid/);
    expect(ops(({ x }) => ({ dx: tf.grad((one: tf.Tensor) => tf.sum(geluTanh(one)))(x!) }), withFastGelu)).not.toMatch(/FastGelu/);
    // x σ(x (b x² + a)) with other numbers is something else.
    expect(ops(({ x }) => ({ y: tf.mul(x!, tf.sigmoid(tf.mul(x!, tf.add(tf.mul(tf.square(x!), 0.05), 1.6)))) }), withFastGelu)).toMatch(/Sigmoid/);
  });

  it("computes that one node as the chain", async () => {
    engine = await createEngine("onnx-cpu");
    const data = Float32Array.from({ length: 4001 }, (_, i) => (i - 2000) / 200);
    const inputs = { x: float32(data, [4001]) };
    const program = await engine.compile("gelu", ({ x }) => ({ y: geluTanh(x!) }), { inputs, weights: {} });
    const { y } = await program.run(inputs);
    for (const [i, x] of data.entries()) {
      const expected = 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
      expect(Math.abs(Number(y?.data[i]) - expected)).toBeLessThan(1e-6);
    }
  });
});

it("an unknown engine is an error that lists near names", () => {
  expect(() => parseEngineName("onx-cpu")).toThrow('unknown engine "onx-cpu"; near names: onnx-cpu');
});
