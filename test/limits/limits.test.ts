/** Where the time goes: what is read out of a profile, and that a measured model's shares add up. */
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { formatLimits, type LimitsReport } from "../../server/limits/limits.ts";
import { nodeKinds, nodeTimes } from "../../server/limits/nodeTimes.ts";
import { timedWorkloads } from "../../server/limits/workloads.ts";

const demo = fileURLToPath(new URL("../../fixtures/demo/base", import.meta.url));

/** Three runs of a product [2, 3] × [3, 5], an addition, a product of two heads and a reshape; the first is slow. */
function profile(): string {
  const events: object[] = [{ cat: "Session", name: "session_initialization", ts: 0, dur: 9 }];
  for (const [run, slow] of [10, 1, 1].entries()) {
    const ts = 1000 * (run + 1);
    const node = (op: string, at: number, dur: number, inputs: number[][], output: number[]) =>
      events.push(
        { cat: "Node", name: `${op}_0_fence_before`, ts: ts + at, dur: 99, args: { op_name: op } },
        {
          cat: "Node",
          name: `${op}_0_kernel_time`,
          ts: ts + at,
          dur: dur * slow,
          args: { op_name: op, input_type_shape: inputs.map((shape) => ({ float: shape })), output_type_shape: [{ float: output }] },
        },
      );
    node("Gemm", 1, 40, [[2, 3], [5, 3], [5]], [2, 5]);
    node("Add", 2, 7, [[2, 5], [5]], [2, 5]);
    node(
      "MatMul",
      3,
      5,
      [
        [1, 2, 4, 3],
        [1, 2, 3, 4],
      ],
      [1, 2, 4, 4],
    );
    node("Reshape", 4, 3, [[2, 5], [2]], [5, 2]);
    events.push({ cat: "Session", name: "model_run", ts, dur: 60 * slow });
  }
  return JSON.stringify(events);
}

describe("a profile", () => {
  const { seconds, runs, operations } = nodeTimes([profile()], 3, 1);
  it("is summed by kind, without the runs that are not counted", () => {
    expect(seconds.products).toBeCloseTo(40e-6, 12);
    expect(seconds.elementwise).toBeCloseTo(7e-6, 12);
    expect(seconds.attention).toBeCloseTo(5e-6, 12);
    expect(seconds.copies).toBeCloseTo(3e-6, 12);
    expect(runs).toBeCloseTo(60e-6, 12);
  });
  it("tells the operations of its products, two for each term of a sum", () => {
    expect(operations).toBe(2 * 2 * 3 * 5);
  });
});

describe("a model", () => {
  it("has its time divided among kinds that are inside the runs, which are inside the whole", async () => {
    const workloads = await timedWorkloads(demo, 1);
    expect(workloads).toHaveLength(3);
    for (const { name, wall, seconds, runs, operations } of workloads) {
      const nodes = nodeKinds.reduce((sum, kind) => sum + seconds[kind], 0);
      expect(nodes, name).toBeGreaterThan(0);
      expect(nodes, name).toBeLessThanOrEqual(runs * 1.001);
      expect(wall, name).toBeGreaterThan(0);
      expect(seconds.products, name).toBeGreaterThan(0);
      expect(operations, name).toBeGreaterThan(1e6);
    }
    // Blocks, head and all positions: 2 · tokens · (weights of the linear maps), and the head of 64 tokens, the demo's context.
    const [forward] = workloads;
    const { dModel, dMlp, nLayers, dVocab, tokens } = { dModel: 128, dMlp: 512, nLayers: 6, dVocab: 400, tokens: 64 };
    const expected = 2 * tokens * (nLayers * (4 * dModel * dModel + 2 * dModel * dMlp) + dModel * dVocab);
    expect((forward?.operations ?? 0) / expected).toBeGreaterThan(0.9);
    expect((forward?.operations ?? 0) / expected).toBeLessThan(1.3);
    const report: LimitsReport = {
      processor: "a processor",
      load: 0,
      model: "demo",
      shapes: [[2, 3, 5]],
      products: [{ engine: "onnx-cpu", threads: 1, speeds: [2e11] }],
      copying: 8e9,
      workloads,
    };
    expect(formatLimits(report)).toMatch(/onnx-cpu +1 +200\n[^]*forward 1×128[^\n]*% of the best/);
  });
});
