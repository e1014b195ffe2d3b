/** What measured speeds say, where they are kept, and how they are measured without taking the workbench along. */
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, describe, expect, it } from "vitest";
import { predictedSeconds, ranked, usualBlockParameters, type EngineSpeeds } from "../../server/tensors/engineSpeeds.ts";
import { machineWith, readSpeeds, writeSpeeds, type SpeedTable } from "../../server/tensors/speedFile.ts";
import { measureEngines } from "../../server/tensors/speedProbe.ts";

const folder = mkdtempSync(join(tmpdir(), "deltascope-speeds-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** 12 weights · 64² at 16 rows are as many operations as this many at the usual 128 rows. */
const smallBlockParameters = (12 * 64 ** 2 * 16) / 128;

describe("a prediction", () => {
  it("goes through both measured blocks, and grows by a fixed time for each parameter", () => {
    const speed = { small: 0.002, large: 0.02 };
    expect(predictedSeconds(speed, smallBlockParameters)).toBeCloseTo(0.002, 12);
    expect(predictedSeconds(speed, usualBlockParameters)).toBeCloseTo(0.02, 12);
    const step = predictedSeconds(speed, 3e7) - predictedSeconds(speed, 2e7);
    expect(predictedSeconds(speed, 4e7) - predictedSeconds(speed, 3e7)).toBeCloseTo(step, 12);
  });
  it("is still one where a large block took no longer than a small one, or a small one no time at all", () => {
    expect(predictedSeconds({ small: 0.03, large: 0.02 }, 2 * usualBlockParameters)).toBeGreaterThan(0.02);
    expect(predictedSeconds({ small: 1e-9, large: 0.02 }, 0)).toBe(0);
  });
});

describe("the choice", () => {
  const both: EngineSpeeds = { "onnx-cpu": { small: 0.0001, large: 0.03 }, "tfjs-node": { small: 0.002, large: 0.02 } };
  const names = ["onnx-cpu", "tfjs-node"] as const;
  const first = (speeds: EngineSpeeds, blockParameters: number) => ranked(speeds, names, blockParameters).map(({ name }) => name);
  it("falls on the engine of low overhead for a small model and on that of fast products for a large one", () => {
    expect(first(both, 12 * 128 ** 2)).toEqual(["onnx-cpu", "tfjs-node"]);
    expect(first(both, 61e6)).toEqual(["tfjs-node", "onnx-cpu"]);
  });
  it("stays with the preferred engine where another is faster by less than a tenth", () => {
    const near = (large: number): EngineSpeeds => ({ "onnx-cpu": { small: 0.0001, large: 0.03 }, "tfjs-node": { small: 0.0001, large } });
    expect(first(near(0.0285), 7e6)[0]).toBe("onnx-cpu");
    expect(first(near(0.0255), 7e6)[0]).toBe("tfjs-node");
  });
  it("leaves out engines that have no time, that are not usable, or that were not measured", () => {
    expect(first({ ...both, "onnx-cpu": { failed: "its process was ended by SIGSEGV", isLate: false } }, 1e5)).toEqual(["tfjs-node"]);
    expect(ranked(both, ["onnx-cpu"], 61e6).map(({ name }) => name)).toEqual(["onnx-cpu"]);
    expect(first({}, 1e5)).toEqual([]);
  });
});

describe("the file", () => {
  const machine = machineWith(["tfjs-node", "onnx-cpu"]);
  const now = Date.parse("2026-11-26T12:00:00Z");
  const table: SpeedTable = { version: 1, machine, measuredAt: "2026-11-26T12:00:00.000Z", load: 0.1, engines: { "onnx-cpu": { small: 0.001, large: 0.02 } } };
  const day = 24 * 60 * 60 * 1000;

  it("gives back what was written, however old, and leaves nothing beside it", () => {
    const path = join(folder, "made", "speeds.json");
    expect(writeSpeeds(table, path)).toBeNull();
    expect(readSpeeds(machineWith(["onnx-cpu", "tfjs-node"]), path, now + 1000 * day)).toEqual(table);
    expect(readdirSync(join(folder, "made"))).toEqual(["speeds.json"]);
  });
  it.each([
    ["processor", { ...machine, processor: "another" }],
    ["number of cores", { ...machine, cores: machine.cores + 1 }],
    ["Node", { ...machine, node: "99" }],
    ["version of a package", { ...machine, versions: { ...machine.versions, "onnx-cpu": "0.0.1" } }],
    ["set of engines", machineWith(["onnx-cpu"])],
  ])("is not for another %s", (_, other) => {
    const path = join(folder, "other.json");
    writeSpeeds(table, path);
    expect(readSpeeds(machine, path, now)).toEqual(table);
    expect(readSpeeds(other, path, now)).toBeNull();
  });
  it.each([
    ["cut short", JSON.stringify(table).slice(0, -9)],
    ["of another version", JSON.stringify({ ...table, version: 2 })],
    ["with a time that is none", JSON.stringify({ ...table, engines: { "onnx-cpu": { small: -1, large: 0 } } })],
    ["empty", ""],
  ])("counts for none when it is %s", (_, text) => {
    const path = join(folder, "broken.json");
    writeFileSync(path, text);
    expect(readSpeeds(machine, path, now)).toBeNull();
    expect(writeSpeeds(table, path)).toBeNull();
    expect(readSpeeds(machine, path, now)).toEqual(table);
  });
  it("that cannot be written says why and stops nothing", () => {
    const blocked = join(folder, "a file");
    writeFileSync(blocked, "");
    expect(writeSpeeds(table, join(blocked, "speeds.json"))).toMatch(/ENOTDIR|EEXIST/);
    mkdirSync(join(folder, "a folder", "speeds.json"), { recursive: true });
    expect(writeSpeeds(table, join(folder, "a folder", "speeds.json"))).toMatch(/EISDIR|ENOTEMPTY|EEXIST|EPERM/);
    expect(readdirSync(join(folder, "a folder"))).toEqual(["speeds.json"]);
    expect(readSpeeds(machine, join(folder, "a folder", "speeds.json"), now)).toBeNull();
  });
  it("is for an hour where an engine was late or others were at work, and for ever where one crashed", () => {
    const path = join(folder, "failed.json");
    const withFailed = (isLate: boolean) => ({ ...table, engines: { ...table.engines, "tfjs-node": { failed: "why", isLate } } });
    writeSpeeds(withFailed(true), path);
    expect(readSpeeds(machine, path, now + day / 48)).not.toBeNull();
    expect(readSpeeds(machine, path, now + day)).toBeNull();
    writeSpeeds({ ...table, load: 0.6 * machine.cores }, path);
    expect(readSpeeds(machine, path, now + day / 48)).not.toBeNull();
    expect(readSpeeds(machine, path, now + day)).toBeNull();
    writeSpeeds(withFailed(false), path);
    expect(readSpeeds(machine, path, now + day)).not.toBeNull();
  });
});

describe("measuring", () => {
  /** Stands for the entry module: what it does depends on the engine that it is to measure. Times are when it began and ended. */
  const script = `
    const now = () => (performance.timeOrigin + performance.now()) / 1000;
    process.on("message", async () => {
      const small = now();
      await new Promise((done) => setTimeout(done, 100));
      process.send({ type: "measured", seconds: { small, large: now() } });
    });
    const act = {
      "onnx-cpu": () => process.send({ type: "ready" }),
      "onnx-cuda": () => process.send({ type: "ready" }),
      "tfjs-node": () => process.kill(process.pid, "SIGSEGV"),
      "tfjs-node-gpu": () => process.send({ type: "failed", words: "no GPU" }),
      "onnx-webgpu": () => undefined,
      wasm: () => process.exit(3),
    };
    act[process.argv[2]]();
  `;
  const module = pathToFileURL(join(folder, "child.mjs"));
  writeFileSync(module, script);
  const patientMs = 60_000;

  it("goes on after engines that crash, refuse or end, and says which", async () => {
    const speeds = await measureEngines(["onnx-cpu", "tfjs-node", "tfjs-node-gpu", "wasm"], { limitMs: patientMs, module });
    expect(speeds["onnx-cpu"]).toHaveProperty("small");
    expect(speeds["tfjs-node"]).toEqual({ failed: "its process was ended by SIGSEGV", isLate: false });
    expect(speeds["tfjs-node-gpu"]).toEqual({ failed: "no GPU", isLate: false });
    expect(speeds.wasm).toEqual({ failed: "its process exited with code 3", isLate: false });
  });
  it("is done by one engine at a time", async () => {
    const speeds = await measureEngines(["onnx-cpu", "onnx-cuda"], { limitMs: patientMs, module });
    const [one, two] = [speeds["onnx-cpu"], speeds["onnx-cuda"]];
    if (!one || !two || "failed" in one || "failed" in two) throw new Error(`expected two times, found ${JSON.stringify(speeds)}`);
    expect(one.large).toBeLessThanOrEqual(two.small);
  });
  it("is done several times, of which the fastest counts, and one that was in time is not late afterwards", async () => {
    const counting = pathToFileURL(join(folder, "counting.mjs"));
    writeFileSync(
      counting,
      `const times = { "onnx-cpu": [3, 2, 1], wasm: [5] }[process.argv[2]];
       process.on("message", () => times.length && process.send({ type: "measured", seconds: { small: times[0], large: 2 * times.shift() } }));
       process.send({ type: "ready" });`,
    );
    const speeds = await measureEngines(["onnx-cpu", "wasm"], { limitMs: 10_000, module: counting });
    expect(speeds.wasm).toEqual({ small: 5, large: 10 });
    // The third round is after the limit.
    expect(speeds["onnx-cpu"]).toEqual({ small: 2, large: 4 });
    expect(await measureEngines(["onnx-cpu"], { limitMs: patientMs, module: counting })).toEqual({ "onnx-cpu": { small: 1, large: 2 } });
  });
  it("ends at its limit, with the process that did not answer", async () => {
    const started = performance.now();
    const speeds = await measureEngines(["onnx-webgpu"], { limitMs: 300, module });
    expect(performance.now() - started).toBeLessThan(patientMs / 2);
    expect(speeds).toEqual({ "onnx-webgpu": { failed: "it gave no time within 0.3 s", isLate: true } });
  });
  it("of a real engine gives times of which the large block's is longer", async () => {
    const { "onnx-cpu": speed } = await measureEngines(["onnx-cpu"], { limitMs: 2 * patientMs });
    if (!speed || "failed" in speed) throw new Error(`expected times, found ${JSON.stringify(speed)}`);
    expect(speed.small).toBeGreaterThan(0);
    expect(speed.large).toBeGreaterThan(speed.small);
    expect(existsSync(join(folder, "speeds.json"))).toBe(false);
  });
});

it("what is on disk is seconds by engine, under the machine that they are of", () => {
  const path = join(folder, "read.json");
  writeSpeeds({ version: 1, machine: machineWith([]), measuredAt: "2026-11-26T12:00:00.000Z", load: 0.1, engines: { wasm: { small: 0.5, large: 1 } } }, path);
  expect(JSON.parse(readFileSync(path, "utf8"))).toMatchObject({ machine: { node: process.versions.node.split(".")[0] }, engines: { wasm: { small: 0.5 } } });
});
