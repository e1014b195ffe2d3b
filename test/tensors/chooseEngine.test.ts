/** Which engine is taken: by name, by what a run began on, and by a table of times over a library that is set up but does not load. */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { chooseEngine, measuredEngines, type EngineWish, type ModelSize } from "../../server/tensors/chooseEngine.ts";
import { formatDoctor, type DoctorReport } from "../../server/tensors/doctor.ts";
import type { EngineName } from "../../server/tensors/engine.ts";
import { hasGpuDevice } from "../../server/tensors/gpuProbe.ts";
import { createEngine } from "../../server/tensors/providers.ts";
import { machineWith, readSpeeds, writeSpeeds, type SpeedTable } from "../../server/tensors/speedFile.ts";

const folder = mkdtempSync(join(tmpdir(), "deltascope-choice-"));
process.env["DELTASCOPE_ENGINE_FOLDER"] = folder;
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const engines: SpeedTable["engines"] = { "onnx-cpu": { small: 0.0001, large: 0.03 }, "tfjs-node": { small: 0.002, large: 0.02 } };
const small: ModelSize = { parameters: 1e6, blockParameters: 12 * 128 ** 2 };
const large: ModelSize = { parameters: 250e6, blockParameters: 61e6 };

/** The engines that were tried, in their turn; libtensorflow is one that does not load. */
async function tried(wish: EngineWish): Promise<{ names: EngineName[]; why: string }> {
  const names: EngineName[] = [];
  const { engine, why } = await chooseEngine(wish, (name) => {
    names.push(name);
    if (name === "tfjs-node") return Promise.reject(new Error("its library does not load"));
    return createEngine(name);
  });
  await engine.dispose();
  expect(names.at(-1)).toBe(engine.name);
  return { names, why };
}

// Where there is a GPU, what its probe says is part of the choice, and of the table.
describe.skipIf(hasGpuDevice())("with libtensorflow set up and times for both", () => {
  let table: SpeedTable;
  beforeAll(() => {
    const packageFolder = join(folder, "tfjs-node", "node_modules", "@tensorflow", "tfjs-node");
    mkdirSync(packageFolder, { recursive: true });
    writeFileSync(join(packageFolder, "package.json"), '{ "name": "@tensorflow/tfjs-node", "version": "4.22.0" }');
    table = { version: 1, machine: machineWith(["onnx-cpu", "tfjs-node"]), measuredAt: "2026-11-26T12:00:00.000Z", load: 0.1, engines };
    writeSpeeds(table);
  });

  it("small and large models are given the engine that is fastest at their size, and another where that does not load", async () => {
    expect(await tried({ model: small })).toMatchObject({ names: ["onnx-cpu"] });
    const forLarge = await tried({ model: large });
    expect(forLarge.names).toEqual(["tfjs-node", "onnx-cpu"]);
    expect(forLarge.why).toMatch(/^onnx-cpu, measured: tfjs-node 1\d\d ms for a block, onnx-cpu 2\d\d ms$/);
    expect((await measuredEngines())?.table).toEqual(table);
  });
  it("a model whose weights libtensorflow would copy for every run is none for it", async () => {
    const { names, why } = await tried({ model: { ...large, parameters: 1.24e9 } });
    expect(names).toEqual(["onnx-cpu"]);
    expect(why).toContain("tfjs-node: it keeps 1 GiB of float32 weights, and these are 4.6 GiB");
  });
  it("threads that are asked for are given by ONNX Runtime alone", async () => {
    expect((await tried({ model: large, threads: 1 })).names).toEqual(["onnx-cpu"]);
  });
  it("the engine asked for is taken whatever is faster, and one that does not load is refused", async () => {
    expect(await tried({ engine: "wasm", model: large, begunOn: "onnx-cpu" })).toEqual({ names: ["wasm"], why: "wasm was asked for" });
    await expect(tried({ engine: "tfjs-node", model: small })).rejects.toThrow("does not load");
    await expect(tried({ engine: "abacus" })).rejects.toThrow('unknown engine "abacus"');
  });
  it("a run goes on with the engine that it began on, or else with the one of its size", async () => {
    expect(await tried({ begunOn: "wasm", model: small })).toMatchObject({ names: ["wasm"], why: "wasm, which the run began on" });
    expect((await tried({ begunOn: "tfjs-node", model: small })).names).toEqual(["tfjs-node", "onnx-cpu"]);
    expect((await tried({ begunOn: "an engine of another day", model: small })).names).toEqual(["onnx-cpu"]);
  });
  it("an engine that was late is not waited for again when a model is opened, but when the times themselves are asked for", async () => {
    const late = { failed: "it gave no time within 3 s", isLate: true };
    writeSpeeds({ ...table, measuredAt: new Date().toISOString(), engines: { "onnx-cpu": late, "tfjs-node": late } });
    const now = await measuredEngines({ isPatient: true });
    expect(now?.table.engines["tfjs-node"]).toMatchObject({ failed: expect.stringContaining("@tensorflow/tfjs-node") as unknown, isLate: false });
    expect(now?.table.engines["onnx-cpu"]).toHaveProperty("large");
    expect(readSpeeds(table.machine)).toEqual(now?.table);
    expect((await tried({ model: large })).why).toMatch(/^onnx-cpu, measured: onnx-cpu [\d.]+ ms for a block$/);
  });
});

it.skipIf(hasGpuDevice())("where one engine is set up nothing is measured and nothing written", async () => {
  const empty = join(folder, "not there");
  const before = process.env["DELTASCOPE_ENGINE_FOLDER"];
  process.env["DELTASCOPE_ENGINE_FOLDER"] = empty;
  expect((await tried({ model: large })).why).toMatch(/^onnx-cpu \(ONNX Runtime, CPU\), before it: onnx-cuda: no GPU/);
  expect(existsSync(empty)).toBe(false);
  process.env["DELTASCOPE_ENGINE_FOLDER"] = before;
});

describe("the doctor", () => {
  const report: DoctorReport = {
    versions: { deltascope: "0", node: "v20", onnxruntime: "1", tfjs: "4" },
    platform: "linux",
    cpu: "a processor",
    threads: 2,
    memoryBytes: { total: 2 ** 30, free: 2 ** 29 },
    engines: [
      { name: "onnx-cpu", available: true, reason: "ONNX Runtime, CPU", detail: "bundled" },
      { name: "tfjs-node", available: true, reason: "TensorFlow.js", detail: "on the CPU" },
      { name: "wasm", available: true, reason: "WebAssembly", detail: "one thread" },
    ],
    measured: null,
    chosen: [{ models: "small models", engine: "onnx-cpu", why: "onnx-cpu (ONNX Runtime, CPU), the first choice" }],
  };
  it("says that nothing was measured where there is nothing to choose between, and why the engine was chosen", () => {
    const text = formatDoctor(report);
    expect(text).toContain("measured: nothing, as there is one candidate\nchosen: onnx-cpu (ONNX Runtime, CPU), the first choice\n");
    expect(text).toContain("  → onnx-cpu   yes");
  });
  it("shows times, when and where they were kept, and the choice for small and for large models", () => {
    const table: SpeedTable = {
      version: 1,
      machine: machineWith([]),
      measuredAt: "2026-11-26T12:00:00.000Z",
      load: 0.1,
      engines: { ...engines, "onnx-webgpu": { failed: "its process was ended by SIGSEGV", isLate: false } },
    };
    const text = formatDoctor({
      ...report,
      measured: { table, kept: "/cache/speeds.json" },
      chosen: [
        { models: "small models", engine: "onnx-cpu", why: "onnx-cpu, measured" },
        { models: "large models", engine: "tfjs-node", why: "tfjs-node, measured" },
      ],
    });
    expect(text).toContain("measured 2026-11-26T12:00:00.000Z, a transformer block of 16 rows at width 64 and of 128 rows at width 768 (/cache/speeds.json):");
    expect(text).toMatch(/onnx-cpu +0\.1 ms +30 ms\n/);
    expect(text).toMatch(/onnx-webgpu +no time: its process was ended by SIGSEGV\n/);
    expect(text).toContain("chosen for small models: onnx-cpu, measured\nchosen for large models: tfjs-node, measured\n");
    expect(text.split("\n").filter((line) => line.startsWith("  →"))).toHaveLength(2);
    expect(text).not.toContain("others were at work");
    const busy = { ...table, load: 9 * table.machine.cores };
    expect(formatDoctor({ ...report, measured: { table: busy, kept: "" } })).toMatch(/others were at work \(load \d+\.0\): these times are taken again/);
  });
});
