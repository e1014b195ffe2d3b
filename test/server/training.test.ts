/** Training over HTTP with a real worker and the demo's model: pause, resume, branch, preview, and a server that is killed. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { probes } from "../../probes/registry.ts";
import { applyEvent, emptyResult, type ProbeResult } from "../../probes/result.ts";
import { unpackEvents } from "../../server/packedEvents.ts";
import { workerModule } from "../../server/jobs/workerProcess.ts";
import type { RunRecord, StoredResult, TrainingMethodCard, TrainingPreview } from "../../server/wire.ts";
import { deltascope, demoBase, factsFile, shortRun, temporaryFolder } from "../cli/deltascope.ts";
import { startServer, type TestServer } from "./startServer.ts";

const given = temporaryFolder();
const written = (name: string, content: string | Buffer): string => {
  writeFileSync(join(given, name), content);
  return join(given, name);
};
let server: TestServer;
beforeAll(async () => {
  server = await startServer({ probes, worker: workerModule, roots: [demoBase, dirname(factsFile), given], cancelGraceMs: 10_000 });
});
afterAll(async () => {
  await server.close();
  rmSync(given, { recursive: true });
});

const { model, ...params } = shortRun;
const post = (path: string, body: object = {}): Promise<{ status: number; json: unknown }> => server.call("POST", `/api${path}`, { body });
const branch = async (id: string, body: object): Promise<{ status: number; record: RunRecord }> => {
  const { status, json } = await post(`/runs/${id}/branch`, body);
  return { status, record: json as RunRecord };
};
const preview = async (changes: object): Promise<TrainingPreview> =>
  (await post("/training/preview", { subject: { model }, params: { ...params, ...changes } })).json as TrainingPreview;
const adapter = async (id: string): Promise<Buffer> => {
  const { json } = await server.call("GET", `/api/runs/${id}/adapter`);
  return readFileSync(join((json as { path: string }).path, "adapter_model.safetensors"));
};
const until = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await delay(10);
};

describe("a training run over HTTP", () => {
  let whole: RunRecord;
  beforeAll(async () => {
    whole = await server.ended((await server.startRun("train", params, model)).id);
  });

  test("ends with its checkpoints, its scalars as JSONL and CSV, and an adapter that the server may open", async () => {
    expect(whole).toMatchObject({ state: "done", error: null, resumable: false, progress: { done: 40, total: 40 } });
    expect(whole.checkpoints).toEqual([3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 33, 36, 39, 40]);
    expect(whole.provenance!.command).toMatch(/^deltascope train --config '\{"model":/);
    const rows = (await server.call("GET", `/api/runs/${whole.id}/scalars.jsonl`)).text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, number>);
    expect(rows).toHaveLength(41);
    const [head, ...lines] = (await server.call("GET", `/api/runs/${whole.id}/scalars.csv`)).text.trimEnd().split("\n");
    const column = head!.split(",").indexOf("loss");
    expect(lines.slice(1).map((line) => Number(line.split(",")[column]))).toEqual(rows.slice(1).map((row) => row["loss"]));
    const { json } = await server.call("GET", `/api/runs/${whole.id}/adapter?step=21`);
    const opened = await post("/subjects", { model, adapters: [{ path: (json as { path: string }).path }] });
    expect(opened).toMatchObject({ status: 200, json: { adapters: [{ rank: "4" }] } });
  });

  test("is paused and resumed as the same run, watched through both, to the same adapter", async () => {
    const socket = server.connect();
    let seen: ProbeResult = emptyResult;
    const seqs: number[] = [];
    const { id } = await server.startRun("train", params, model);
    socket.on("run:events", ({ runId, seq, events, numbers }) => {
      if (runId !== id) return;
      seqs.push(seq);
      seen = unpackEvents(events, numbers).reduce(applyEvent, seq === 0 ? emptyResult : seen);
    });
    await new Promise((resolve) => socket.emit("run:watch", id, resolve));
    await until(() => (server.board.record(id).progress?.done ?? 0) >= 5);
    expect(await post(`/runs/${id}/pause`)).toMatchObject({ status: 200, json: { id } });
    const paused = await server.ended(id);
    expect(paused).toMatchObject({ state: "paused", resumable: true, error: null });
    expect(paused.checkpoints.at(-1)).toBe(paused.progress!.done);
    expect(paused.progress!.done).toBeLessThan(40);
    const soFar = (await server.board.probeResult(id)).arrays["loss"]!.data.slice(0, paused.progress!.done);
    expect(soFar.some(Number.isNaN)).toBe(false);

    const resumed = await post(`/runs/${id}/resume`);
    expect(resumed).toMatchObject({ status: 200, json: { id, state: "queued", endedAt: null } });
    // What it had is there while it waits.
    expect((await server.board.probeResult(id)).arrays["loss"]!.data.slice(0, soFar.length)).toEqual(soFar);
    const done = await server.ended(id);
    expect(done).toMatchObject({ state: "done", resumable: false });
    expect((await adapter(id)).equals(await adapter(whole.id))).toBe(true);
    await until(() => seen.progress?.done === 40 && seen.checks.length > 0);
    const arrays = (await server.board.probeResult(id)).arrays;
    expect(seen.arrays["loss"]!.data).toEqual(arrays["loss"]!.data);
    expect(seqs).toEqual(seqs.map((_, i) => i));
    // Measured times differ; what was learnt does not.
    const undisturbed = (await server.board.probeResult(whole.id)).arrays;
    for (const name of ["step", "loss", "gradient_norm_all", "validation_loss"]) expect(arrays[name]!.data).toEqual(undisturbed[name]!.data);
  });

  test("branches at a checkpoint into a run of its own with other settings", async () => {
    const { status, record } = await branch(whole.id, { step: 21, params: { optimizer: { learningRate: 0.001 }, steps: 30 } });
    expect(status).toBe(201);
    expect(record.request.params).toMatchObject({ startFrom: { step: 21 }, steps: 30, optimizer: { learningRate: 0.001, weightDecay: 0.01 }, dropout: 0.1 });
    expect(await server.ended(record.id)).toMatchObject({ state: "done", checkpoints: [24, 27, 30] });
    expect((await server.board.probeResult(record.id)).arrays["step"]!.data[0]).toBe(22);
    expect(readdirSync(join(server.board.folderOf(whole.id), "checkpoints"))).toHaveLength(whole.checkpoints.length);
  });

  test("that was cancelled goes on from its last checkpoint", async () => {
    const { id } = await server.startRun("train", params, model);
    await until(() => server.board.checkpoints(id).length >= 2);
    await post(`/runs/${id}/cancel`);
    const cancelled = await server.ended(id);
    expect(cancelled).toMatchObject({ state: "cancelled", resumable: true });
    await post(`/runs/${id}/resume`);
    expect(await server.ended(id)).toMatchObject({ state: "done" });
    expect((await adapter(id)).equals(await adapter(whole.id))).toBe(true);
  });

  test("does not keep probes and questions waiting", async () => {
    const { id } = await server.startRun("train", { ...params, steps: 2000, checkpointEvery: 1000, evaluateEvery: 1000 }, model);
    await until(() => (server.board.record(id).progress?.done ?? 0) > 0);
    const lens = await server.startRun("logitLens", { prompt: "The capital of Arvenia is" }, model);
    expect(await server.ended(lens.id)).toMatchObject({ state: "done" });
    expect((await post("/tokenize", { subject: { model }, text: "a" })).status).toBe(200);
    expect(server.board.record(id).state).toBe("running");
    expect((await server.call("GET", "/api/health")).json).toMatchObject({ jobs: { running: 1 } });
    server.board.cancel(id);
    expect(await server.ended(id)).toMatchObject({ state: "cancelled", resumable: false, checkpoints: [] });
  });

  test.each<[string, () => [path: string, body: object], number, string]>([
    ["resuming what is done", () => [`/runs/${whole.id}/resume`, {}], 409, "run.isDone"],
    ["resuming nothing", () => ["/runs/none/resume", {}], 404, "run.unknown"],
    ["branching at a step without a checkpoint", () => [`/runs/${whole.id}/branch`, { step: 22 }], 409, "training.noCheckpoint"],
    ["branching with a setting that is none", () => [`/runs/${whole.id}/branch`, { step: 21, params: { optimizer: { lr: 1 } } }], 400, "probe.badParams"],
    ["branching without a step", () => [`/runs/${whole.id}/branch`, {}], 400, "request.malformed"],
    [
      "data outside the opened folders",
      () => ["/runs", { subject: { model }, probe: "train", params: { data: { path: "/etc/passwd" } } }],
      403,
      "file.outsideRoots",
    ],
    [
      "a checkpoint outside the opened folders",
      () => ["/runs", { subject: { model }, probe: "train", params: { ...params, startFrom: { folder: "/etc", step: 1 } } }],
      403,
      "file.outsideRoots",
    ],
    [
      "earlier adapters outside the opened folders",
      () => ["/runs", { subject: { model }, probe: "train", params: { ...params, method: "oliera", options: { earlier: ["/etc"] } } }],
      403,
      "file.outsideRoots",
    ],
    [
      "a preview of data outside the opened folders",
      () => ["/training/preview", { subject: { model }, params: { data: { path: "/etc/passwd" } } }],
      403,
      "file.outsideRoots",
    ],
    [
      "a preview of a missing file",
      () => ["/training/preview", { subject: { model }, params: { data: { path: join(dirname(factsFile), "nothing.jsonl") } } }],
      404,
      "file.notFound",
    ],
    [
      "a preview of unknown sites",
      () => ["/training/preview", { subject: { model }, params: { ...params, sites: { targetModules: ["c_atn"] } } }],
      422,
      "adapter.matchedNothing",
    ],
    [
      "a preview of a rank that does not fit",
      () => ["/training/preview", { subject: { model }, params: { ...params, options: { rank: 1000 } } }],
      400,
      "training.badOptions",
    ],
  ])("refuses %s", async (_name, request, status, code) => {
    const [path, body] = request();
    expect(await post(path, body)).toMatchObject({ status, json: { error: { code } } });
  });

  test.each([
    ["data.path", { data: { path: "/etc/passwd" } }],
    ["startFrom.folder", { ...params, startFrom: { folder: "/etc", step: 1 } }],
    ["sites.targetModules", { ...params, sites: { targetModules: ["c_atn"] } }],
    ["sites.layers", { ...params, sites: { targetModules: ["c_attn"], layers: [99] } }],
    ["options.rank", { ...params, options: { rank: 1000 } }],
    ["options.rank", { ...params, options: { rank: "many" } }],
    ["optimizer.lr", { ...params, optimizer: { lr: 1 } }],
    ["method", { ...params, method: "lorra" }],
    ["data.path", { ...params, data: {} }],
    ["data.path", { ...params, data: { path: written("latin1.jsonl", Buffer.from([0xe9, 0x0a])) } }],
    ["data.path", { ...params, data: { path: written("short.jsonl", "{") } }],
    ["data.validationPath", { ...params, data: { ...params.data, validationPath: written("held.jsonl", "[1]\n") } }],
    ["data.columns.completion", { ...params, data: { path: written("half.jsonl", `{"prompt":"a"}\n`), task: "completion" } }],
    ["data.columns.label", { ...params, data: { path: written("label.jsonl", `{"text":"a","label":[]}\n`), task: "classification" } }],
    ["data.columns.task", { ...params, data: { ...params.data, columns: { task: "nowhere" } } }],
    ["optimizer.rates", { ...params, optimizer: { ...params.optimizer, rates: { loraC: 2 } } }],
    ["accumulate", { ...params, steps: null, epochs: 1e-3, accumulate: 4000 }],
    ["epochs", { ...params, steps: null, epochs: 999_999, batchSize: 1 }],
    ["options.k", { ...params, method: "ssvd", options: { k: 4000 } }],
  ])("says that a mistake is in %s, apart from the words", async (field, wrong) => {
    expect(await post("/training/preview", { subject: { model }, params: wrong })).toMatchObject({ json: { error: { field } } });
  });

  test("refuses checkpoints that are links out of the opened folders, and goes on with those that link inside", async () => {
    const outside = temporaryFolder();
    writeFileSync(join(outside, "state.json"), "a secret");
    const made = (target: string): string => {
      const run = mkdtempSync(join(server.folder, "linked-"));
      mkdirSync(join(run, "checkpoints"));
      symlinkSync(target, join(run, "checkpoints", "step-00000021"));
      return run;
    };
    const start = (folder: string) => post("/training/preview", { subject: { model }, params: { ...params, startFrom: { folder, step: 21 } } });
    expect(await start(made(outside))).toMatchObject({ status: 403, json: { error: { code: "file.outsideRoots", field: "startFrom.folder" } } });
    expect(await start(made(join(server.board.folderOf(whole.id), "checkpoints", "step-00000021")))).toMatchObject({ status: 200 });
  });

  test("refuses to pause, branch or export what does not train", async () => {
    const { id } = await server.startRun("adapterHealth", {}, model);
    await server.ended(id);
    for (const path of [`/runs/${id}/pause`, `/runs/${id}/resume`])
      expect(await post(path)).toMatchObject({ status: 409, json: { error: { code: "run.notTraining" } } });
    expect((await server.call("GET", `/api/runs/${id}/adapter`)).status).toBe(409);
    expect((await server.call("GET", `/api/runs/${id}/scalars.csv`)).status).toBe(409);
    expect((await server.call("GET", `/api/runs/${whole.id}/scalars.xml`)).status).toBe(404);
  });
});

describe("before a run", () => {
  test("the methods are told with their options", async () => {
    const cards = (await server.call("GET", "/api/training/methods")).json as TrainingMethodCard[];
    expect(cards.map(({ name }) => name)).toEqual(expect.arrayContaining(["lora", "dora", "l1ra", "full"]));
    expect(cards.find(({ name }) => name === "lora")!.options).toMatchObject({ properties: { rank: { default: 8 } } });
  });

  test("the preview counts what the run then trains", async () => {
    const json = await preview({});
    expect(json).toMatchObject({ parameters: 6 * 4 * (128 + 384), steps: 40, warnings: [], data: { labels: [], tasks: ["all"], cut: 0 } });
    expect(json.sites.map(({ name }) => name)).toEqual(Array.from({ length: 6 }, (_, layer) => `blocks.${layer}.attn.qkv`));
    expect(json.memory.map(({ label }) => label)).toContain("activations of one batch");
    const [first] = json.data.first;
    expect(first!.tokens).toHaveLength(first!.lossWeights.length);
    expect(json.data.examples + json.data.validation).toBe(readFileSync(factsFile, "utf8").trimEnd().split("\n").length);
  });

  test("the preview counts looks at pinned prompts where they need more memory than a step, and only where the run is looked at", async () => {
    const activations = async (probes: object): Promise<string[]> =>
      (await preview({ batchSize: 1, probes })).memory.flatMap(({ label }) => (label.startsWith("activations") ? [label] : []));
    const prompts = Array.from({ length: 8 }, () => ({ prompt: "The capital of Arvenia is", answer: " Krest", counterAnswer: " Tolm" }));
    const patchSites = Array.from({ length: 6 }, (_, layer) => `blocks.${layer}.attn.qkv`);
    expect(await activations({ prompts, patchSites })).toEqual(["activations of one look at the pinned prompts"]);
    for (const probes of [{}, { prompts, patchSites, maxShare: 0 }]) expect(await activations(probes)).toEqual(["activations of one batch"]);
  });

  test("frozen tensors that sites share are counted once", async () => {
    const bytes = async (targetModules: readonly string[]): Promise<number> => {
      const { memory } = await preview({ method: "vera", options: { rank: 64 }, sites: { targetModules } });
      return memory.find(({ label }) => label.startsWith("frozen"))!.bytes;
    };
    // Shared A [64, 128] and B [384, 64] for all six sites.
    expect(await bytes(["c_attn"])).toBe(4 * 64 * (128 + 384));
  });

  test("a warning tells of steps that are too few for the warm-up, and of nothing held out", async () => {
    const { warnings } = await preview({ steps: 5, data: { ...params.data, validationFraction: 0 } });
    expect(warnings).toEqual([expect.stringContaining("validationFraction"), expect.stringContaining("warmupSteps")]);
  });
});

test("a server killed with SIGKILL finds its training paused, with what it had, and goes on to the same adapter", { timeout: 240_000 }, async () => {
  const folder = temporaryFolder();
  const serve = async () => {
    const running = deltascope(
      folder,
      "serve",
      "--no-open",
      "--port",
      "0",
      "--root",
      folder,
      "--root",
      demoBase,
      "--root",
      dirname(factsFile),
      "--engine",
      "onnx-cpu",
    );
    const url = await new Promise<string>((resolve) => {
      let text = "";
      running.child.stdout!.on("data", (chunk: Buffer) => {
        text += chunk.toString();
        const found = /http:\/\/\S+/.exec(text)?.[0];
        if (found !== undefined) resolve(found);
      });
    });
    const ask = async <T>(path: string, body?: object): Promise<T> => {
      const reply = await fetch(
        new URL(`/api${path}`, url),
        body ? { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } } : {},
      );
      return (await reply.json()) as T;
    };
    return { ...running, ask };
  };
  const first = await serve();
  const { id } = await first.ask<RunRecord>("/runs", { subject: { model }, probe: "train", params });
  let record: RunRecord;
  do {
    await delay(20);
    record = (await first.ask<StoredResult>(`/runs/${id}`)).record;
  } while (record.checkpoints.length < 2 && record.state !== "done");
  first.child.kill("SIGKILL");
  await first.ended;

  const second = await serve();
  const found = await second.ask<StoredResult>(`/runs/${id}`);
  expect(found.record).toMatchObject({ id, state: "paused", resumable: true, error: null });
  expect(found.record.checkpoints.length).toBeGreaterThanOrEqual(2);
  expect(found.record.progress).toMatchObject({ done: found.record.checkpoints.at(-1), total: 40 });
  expect(found.figures.map(({ id: figure }) => figure)).toContain("spectrum");
  expect(found.arrays["loss"]).toEqual({ shape: [40], axes: ["point"] });
  await second.ask(`/runs/${id}/resume`, {});
  do {
    await delay(50);
    record = (await second.ask<StoredResult>(`/runs/${id}`)).record;
  } while (record.endedAt === null);
  expect(record).toMatchObject({ state: "done", checkpoints: expect.arrayContaining([40]) as unknown });
  const { path } = await second.ask<{ path: string }>(`/runs/${id}/adapter`);
  const whole = await server.ended((await server.startRun("train", params, model)).id);
  expect(readFileSync(join(path, "adapter_model.safetensors")).equals(await adapter(whole.id))).toBe(true);
  second.child.kill("SIGINT");
  await second.ended;
  rmSync(folder, { recursive: true, force: true });
});
