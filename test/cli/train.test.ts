/** `deltascope train`, `compare` and `methods` from outside: files, exit codes and words. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { trainings } from "../../server/adapters/registry.ts";
import { defaultConfig, readTrainConfig } from "../../server/commands/trainConfig.ts";
import { checkpointSteps } from "../../server/training/checkpoint.ts";
import { trainingParams } from "../../server/training/trainingParams.ts";
import { bin, deltascope, demoBase, factsFile, shortRun, start, temporaryFolder, type Ended } from "./deltascope.ts";

const folder = temporaryFolder();
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const config = (name: string, changes: object = {}): string => {
  writeFileSync(join(folder, name), JSON.stringify({ ...shortRun, ...changes }));
  return name;
};
const train = (...args: string[]): Promise<Ended> => deltascope(folder, "train", ...args).ended;
const read = (...path: string[]): unknown => JSON.parse(readFileSync(join(folder, ...path), "utf8"));
const adapterOf = (out: string): Buffer => readFileSync(join(folder, out, "adapter", "adapter_model.safetensors"));

describe("a run", () => {
  let ended: Ended;
  beforeAll(async () => {
    ended = await train("--config", config("first.json"), "--out", "first");
  });

  test("leaves its configuration, checkpoints, scalars, result and adapter", () => {
    expect(ended).toMatchObject({ code: 0 });
    expect(readdirSync(join(folder, "first")).toSorted()).toEqual(["adapter", "arrays.safetensors", "checkpoints", "result.json", "run.json", "scalars.jsonl"]);
    expect(read("first", "result.json")).toMatchObject({
      record: { state: "done", progress: { done: 40, total: 40 }, resumable: false, request: { probe: "train" } },
    });
    expect(read("first", "adapter", "adapter_config.json")).toMatchObject({ peft_type: "LORA", r: 4, target_modules: ["c_attn"] });
    const rows = readFileSync(join(folder, "first", "scalars.jsonl"), "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, number>);
    expect(rows.map(({ step }) => step)).toEqual(Array.from({ length: 41 }, (_, step) => step));
    expect(rows[40]).toMatchObject({
      loss: expect.any(Number) as unknown,
      validation_loss: expect.any(Number) as unknown,
      "effective_rank/blocks.0.attn.qkv": expect.any(Number) as unknown,
    });
    expect(rows[40]!["loss"]!).toBeLessThan(rows[1]!["loss"]!);
  });

  test("tells where its adapter is, on stdout, and how far it is, in plain lines, on stderr", () => {
    expect(ended.out).toContain(join(folder, "first", "adapter"));
    expect(ended.err).toMatch(/train: 40\/40 steps, loss \d/);
    expect(ended.err).not.toContain("\u001b");
  });

  test("is not overwritten, and does not go on with other settings", async () => {
    const before = adapterOf("first");
    const [again, other] = await Promise.all([
      train("--config", "first.json", "--out", "first"),
      train("--config", config("other.json", { seed: 6, batchSize: 8 }), "--resume", "--out", "first"),
    ]);
    expect(again).toMatchObject({ code: 2, err: expect.stringContaining("--resume") as unknown });
    expect(other).toMatchObject({ code: 2, err: expect.stringMatching(/batchSize, seed are not as in .*run\.json/) as unknown });
    expect(adapterOf("first").equals(before)).toBe(true);
  });

  test("that was paused with Ctrl+C says how to go on, and goes on to the same adapter", async () => {
    const paused = deltascope(folder, "train", "--config", "first.json", "--out", "paused");
    while (checkpointSteps(join(folder, "paused")).length < 3) await new Promise((resolve) => setTimeout(resolve, 10));
    paused.child.kill("SIGINT");
    const { code, err } = await paused.ended;
    expect(code).toBe(130);
    expect(err).toMatch(/paused at step \d+ of 40; go on with: deltascope train --resume --out paused/);
    const step = Number(/paused at step (\d+)/.exec(err)![1]);
    expect(checkpointSteps(join(folder, "paused")).at(-1)).toBe(step);
    expect(existsSync(join(folder, "paused", "adapter"))).toBe(false);
    expect(read("paused", "result.json")).toMatchObject({ record: { state: "paused", resumable: true } });
    expect(await train("--resume", "--out", "paused")).toMatchObject({ code: 0 });
    expect(adapterOf("paused").equals(adapterOf("first"))).toBe(true);
  });

  test("goes on with the engine that it began on unless another is asked for, and says which it used", async () => {
    const running = deltascope(folder, "train", "--config", config("slow.json", { steps: 8, checkpointEvery: 1 }), "--out", "begun", "--engine", "wasm");
    while (checkpointSteps(join(folder, "begun")).length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
    running.child.kill("SIGINT");
    expect((await running.ended).code).toBe(130);
    cpSync(join(folder, "begun"), join(folder, "changed"), { recursive: true });
    const [same, changed] = await Promise.all([train("--resume", "--out", "begun"), train("--resume", "--out", "changed", "--engine", "onnx-cpu")]);
    expect(same).toMatchObject({ code: 0, out: expect.not.stringContaining("changes of engine") as unknown });
    expect(read("begun", "result.json")).toMatchObject({ record: { provenance: { engine: "wasm" } } });
    expect(changed).toMatchObject({
      code: 0,
      out: expect.stringMatching(/FAILED changes of engine: 1 \(.*begun on wasm, gone on with on onnx-cpu/) as unknown,
    });
    expect(read("changed", "result.json")).toMatchObject({ record: { provenance: { engine: "onnx-cpu" } } });
  });

  test("is compared with another: scores, sizes and what differs", async () => {
    expect(
      await train("--config", config("second.json", { method: "dora", options: { rank: 2 }, startFrom: null, steps: 20 }), "--out", "second"),
    ).toMatchObject({ code: 0 });
    const table = await deltascope(folder, "compare", "first", "second", "--out", "table.csv").ended;
    expect(table).toMatchObject({ code: 0, err: "" });
    expect(table.out).toMatch(/first +lora +done +6 +12,288/);
    expect(table.out).toMatch(/second +dora +done +6/);
    expect(table.out).toMatch(/steps +40 +20/);
    expect(table.out).toMatch(/options\.rank +4 +2/);
    expect(table.out).not.toMatch(/^seed/m);
    const [head, ...rows] = readFileSync(join(folder, "table.csv"), "utf8").trimEnd().split("\n");
    expect(head).toContain("trainable parameters");
    expect(rows).toHaveLength(2);
    const { runs } = JSON.parse((await deltascope(folder, "compare", "first", "--json").ended).out) as { runs: Record<string, unknown>[] };
    expect(runs[0]).toMatchObject({
      method: "lora",
      sites: 6,
      parameters: 6 * 4 * (128 + 384),
      steps: 40,
      finalLoss: expect.any(Number) as unknown,
      effectiveRank: expect.any(Number) as unknown,
      tokensPerSecond: expect.any(Number) as unknown,
    });
    expect(await deltascope(folder, "compare", "nothing").ended).toMatchObject({ code: 1, err: expect.stringContaining("nothing") as unknown });
    cpSync(join(folder, "first"), join(folder, "torn"), { recursive: true });
    writeFileSync(join(folder, "torn", "result.json"), '{"record":');
    expect(await deltascope(folder, "compare", "torn").ended).toMatchObject({ code: 1, err: expect.stringContaining("result.json is damaged") as unknown });
  });

  test("branches from a checkpoint, and not from one of another model", async () => {
    const from = (changes: object = {}) => ({ startFrom: { folder: "first", step: 21 }, ...changes });
    // The same in all but one number that every layer reads.
    const otherModel = join(folder, "other-model");
    cpSync(demoBase, otherModel, { recursive: true });
    writeFileSync(
      join(otherModel, "config.json"),
      JSON.stringify({ ...(JSON.parse(readFileSync(join(demoBase, "config.json"), "utf8")) as object), layer_norm_epsilon: 1e-4 }),
    );
    const [branch, foreign, missing] = await Promise.all([
      train("--config", config("branch.json", from({ optimizer: { learningRate: 0.001 } })), "--out", "branch"),
      train("--config", config("foreign.json", from({ model: "other-model" })), "--out", "foreign"),
      train("--config", config("missing.json", from({ startFrom: { folder: "first", step: 22 } })), "--out", "missing"),
    ]);
    expect(branch).toMatchObject({ code: 0 });
    expect(checkpointSteps(join(folder, "branch"))[0]).toBe(24);
    expect(foreign).toMatchObject({ code: 1, err: expect.stringContaining("another model") as unknown });
    expect(missing).toMatchObject({ code: 1, err: expect.stringMatching(/no checkpoint of step 22; there are 3, 6/) as unknown });
  });
});

describe("a configuration", () => {
  test("printed with every default reads back as the defaults", () => {
    const text = defaultConfig();
    expect(text).toContain("// Steps between checkpoints");
    const { model, params } = readTrainConfig(text);
    expect(model).toContain("path/to/model");
    expect(params).toEqual(trainingParams.parse({ data: { path: params.data.path } }));
  });

  test("names files beside itself", () => {
    mkdirSync(join(folder, "inner"), { recursive: true });
    writeFileSync(join(folder, "inner", "run.json"), `{ // a comment, and "quotes" in it\n "model": "../base", "data": { "path": "a//b.jsonl" } }`);
    const { model, params } = readTrainConfig(join(folder, "inner", "run.json"));
    expect(model).toBe(join(folder, "base"));
    expect(params.data.path).toBe(join(folder, "inner", "a", "b.jsonl"));
  });

  test.each([
    [{ optimizer: { lr: 1 } }, /bad\.json.*"lr"[^]*optimizer/],
    [{ steps: "many" }, /bad\.json[^]*steps/],
    [{ data: { task: "completion" } }, /bad\.json[^]*data\.path/],
  ])("with %j names the file and the field", async (changes, words) => {
    writeFileSync(join(folder, "bad.json"), JSON.stringify({ model: demoBase, data: { path: factsFile }, ...changes }));
    expect(() => readTrainConfig(join(folder, "bad.json"))).toThrow(words);
  });

  test.each([
    [["--out", "x"], "--config"],
    [["--config", "none.json", "--out", "x"], "none.json"],
    [["--config", "{oops", "--out", "x"], "not JSON"],
    [["--resume", "--out", "never"], "never"],
    [["--config", "{}"], "--out"],
  ])("%j is wrong usage: status 2, and words", async (args, words) => {
    const { code, out, err } = await train(...args);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toContain(words);
  });
});

describe("bad input stops a run before it starts, naming what is wrong:", () => {
  const broken = (name: string, text: string): object => {
    writeFileSync(join(folder, name), text);
    return { data: { path: name, task: "completion" } };
  };
  test.each<[string, () => object, RegExp]>([
    ["a site of another model", () => ({ sites: { targetModules: ["q_proj"] } }), /"q_proj" is no linear map.*c_/],
    ["a mistyped site", () => ({ sites: { targetModules: ["c_atn"] } }), /"c_atn".*c_attn/],
    ["a rank above a dimension", () => ({ options: { rank: 1000 } }), /rank is 1000/],
    ["an unknown method", () => ({ method: "lorra" }), /"lorra".*lora/],
    ["an empty file", () => broken("empty.jsonl", ""), /empty\.jsonl/],
    ["a broken line", () => broken("torn.jsonl", `{"prompt":"a","completion":"b"}\n{"prompt":"a","completion"\n`), /torn\.jsonl.*line 2/],
    ["a missing key", () => broken("keys.jsonl", `{"prompt":"a","completion":"b"}\n{"prompt":"a","completions":"b"}\n`), /keys\.jsonl.*line 2.*completion/],
    ["no such file", () => ({ data: { path: "nowhere.jsonl" } }), /nowhere\.jsonl/],
  ])("%s", async (name, changes, words) => {
    const out = `bad-${name.replaceAll(" ", "-")}`;
    const { code, err } = await train("--config", config(`${out}.json`, changes()), "--out", out);
    expect(code).toBe(1);
    expect(err).toMatch(words);
    expect(err).not.toMatch(/\n {4}at /);
    expect(checkpointSteps(join(folder, out))).toEqual([]);
  });
});

describe("what goes wrong on the way", () => {
  test("a loss that is no number stops the run, says where, and keeps the last good checkpoint", async () => {
    const { code, err } = await train(
      "--config",
      config("nan.json", { optimizer: { learningRate: 1e30, clipNorm: null, warmupSteps: 2, schedule: "constant" }, checkpointEvery: 1, dropout: 0 }),
      "--out",
      "nan",
    );
    expect(code).toBe(1);
    expect(err).toMatch(
      /step \d+: loss is NaN; the first place that is not finite is .*; the last checkpoint with a finite loss is of step \d+.*training\.diverged/,
    );
    expect(checkpointSteps(join(folder, "nan")).length).toBeGreaterThan(0);
    expect(read("nan", "result.json")).toMatchObject({ record: { state: "failed", resumable: true, error: { code: "training.diverged" } } });
  });

  test("a disk without room for a checkpoint ends the run in words, leaves no half of one, and the run goes on when there is room", async () => {
    config("full.json", { options: { rank: 32 }, sites: { targetModules: "all-linear" }, steps: 6 });
    // A limit on a file's size (in KiB) that a checkpoint's state, 4.7 MB, does not keep to.
    const full = await start("bash", ["-c", `ulimit -f 1500; exec "${process.execPath}" "${bin}" train --config full.json --out full`], folder).ended;
    expect(full.code).toBe(1);
    expect(full.err).toMatch(/no room for a checkpoint.*training\.diskFull/);
    expect(readdirSync(join(folder, "full", "checkpoints"))).toEqual([]);
    expect(await train("--resume", "--out", "full")).toMatchObject({ code: 0 });
  });
});

test("methods lists every method with its source, exactness and options", async () => {
  const [list, one, unknown] = await Promise.all([
    deltascope(folder, "methods").ended,
    deltascope(folder, "methods", "dora").ended,
    deltascope(folder, "methods", "dorra").ended,
  ]);
  for (const name of [...Object.keys(trainings), "full"]) expect(list.out).toMatch(new RegExp(`^${name} `, "m"));
  expect(one.out).toMatch(/Source: .*\nExactness: .*\nOptions[^]*rank \(integer, default/);
  expect(unknown).toMatchObject({ code: 1, err: expect.stringContaining("dora") as unknown });
});
