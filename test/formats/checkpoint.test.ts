import { renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openAdapterCheckpoint, openCheckpoint } from "../../server/formats/checkpoint.ts";
import { writeSafetensors, type WritableTensor } from "../../server/formats/safetensors.ts";
import { floatValues } from "../../server/formats/tensorValues.ts";
import { expectCode } from "./expectCode.ts";
import { temporaryFolder } from "./temporaryFolder.ts";

const one = (name: string, value: number): WritableTensor => ({ name, shape: [1], data: Float32Array.of(value) });

function sharded(map: Record<string, string> = { a: "model-1.safetensors", b: "model-2.safetensors" }): string {
  const dir = temporaryFolder();
  writeSafetensors(join(dir, "model-1.safetensors"), [one("a", 1)], { format: "pt" });
  writeSafetensors(join(dir, "model-2.safetensors"), [{ ...one("b", 2), dtype: "BF16" }]);
  writeFileSync(join(dir, "model.safetensors.index.json"), JSON.stringify({ metadata: { total_size: 6 }, weight_map: map }));
  return dir;
}

test("a single file opens by its folder and by its own name", () => {
  const dir = temporaryFolder();
  writeSafetensors(join(dir, "model.safetensors"), [one("a", 3)], { format: "pt" });
  for (const path of [dir, join(dir, "model.safetensors")]) {
    const checkpoint = openCheckpoint(path);
    expect(checkpoint).toMatchObject({ dir, bytes: 4, dtypes: { F32: { tensors: 1, bytes: 4 } }, metadata: { format: "pt" } });
    expect([...floatValues(checkpoint.entries.get("a")!)]).toEqual([3]);
  }
});

test("shards open as one checkpoint, each tensor from its own file", () => {
  const checkpoint = openCheckpoint(sharded());
  expect(checkpoint.bytes).toBe(6);
  expect(checkpoint.dtypes).toEqual({ F32: { tensors: 1, bytes: 4 }, BF16: { tensors: 1, bytes: 2 } });
  expect(["a", "b"].map((name) => floatValues(checkpoint.entries.get(name)!)[0])).toEqual([1, 2]);
});

test("missing shards are named", () => {
  const dir = sharded();
  rmSync(join(dir, "model-2.safetensors"));
  expectCode(() => openCheckpoint(dir), "checkpoint.missingShard", "model-2.safetensors", "1 of 2");
});

test("a tensor that is not in the shard the index names is an error", () => {
  expectCode(() => openCheckpoint(sharded({ a: "model-1.safetensors", b: "model-1.safetensors" })), "checkpoint.missingTensor", '"b"', "model-1.safetensors");
});

test.each(["../secret.safetensors", "/etc/x.safetensors", "sub/x.safetensors", "..\\x.safetensors"])("a shard named %s is refused", (shard) => {
  expectCode(() => openCheckpoint(sharded({ a: shard })), "file.outsideRoots", "expected the name of a file beside the index");
});

test("an index that is not one is refused with what is wrong in it", () => {
  const dir = sharded();
  writeFileSync(join(dir, "model.safetensors.index.json"), '{"weight_map": {"a": 1}}');
  expectCode(() => openCheckpoint(dir), "config.malformed", "weight_map");
});

test("pickles are refused, with how to convert them", () => {
  for (const [name, open] of [
    ["pytorch_model.bin", openCheckpoint],
    ["adapter_model.bin", openAdapterCheckpoint],
    ["pytorch_model.bin.index.json", openCheckpoint],
  ] as const) {
    const dir = temporaryFolder();
    writeFileSync(join(dir, name), "never opened");
    expectCode(() => open(dir), "file.unreadable", name, "pickle", "save_pretrained");
  }
});

test("an adapter folder opens, and safetensors win over a pickle beside them", () => {
  const dir = temporaryFolder();
  writeFileSync(join(dir, "adapter_model.bin"), "never opened");
  writeSafetensors(join(dir, "adapter_model.safetensors"), [one("base_model.model.h.lora_A.weight", 1)]);
  expect(openAdapterCheckpoint(dir).entries.size).toBe(1);
  expectCode(() => openCheckpoint(dir), "file.notFound", "an adapter's folder");
});

test("an adapter's weights that are missing are not some other pickle of the folder, and other weights beside them are named", () => {
  const dir = temporaryFolder();
  for (const name of ["optimizer.pt", "training_args.bin", "rng_state.pth"]) writeFileSync(join(dir, name), "never opened");
  writeSafetensors(join(dir, "model.safetensors"), [one("h.weight", 1)]);
  expectCode(() => openAdapterCheckpoint(dir), "file.notFound", "adapter_model.safetensors is missing", "model.safetensors");
});

test("quantised weights are refused by the config and by their tensors", () => {
  const dir = temporaryFolder();
  writeSafetensors(join(dir, "model.safetensors"), [one("h.weight", 1)]);
  writeFileSync(join(dir, "config.json"), JSON.stringify({ quantization_config: { quant_method: "bitsandbytes" } }));
  expectCode(() => openCheckpoint(dir), "config.unsupported", "bitsandbytes", "quantised");
  rmSync(join(dir, "config.json"));
  expect(openCheckpoint(dir).entries.size).toBe(1);
  writeSafetensors(join(dir, "packed.safetensors"), [{ name: "h.weight", shape: [1], data: Int32Array.of(1) }]);
  renameSync(join(dir, "packed.safetensors"), join(dir, "model.safetensors"));
  expectCode(() => openCheckpoint(dir), "config.unsupported", '"h.weight" is I32');
  writeSafetensors(join(dir, "model.safetensors"), [one("h.qweight", 1)]);
  expectCode(() => openCheckpoint(dir), "config.unsupported", "h.qweight");
});

test("a folder without weights and a folder that is not there are told apart", () => {
  const dir = temporaryFolder();
  expectCode(() => openCheckpoint(dir), "file.notFound", "no weights", "model.safetensors");
  expectCode(() => openCheckpoint(join(dir, "none")), "file.notFound", "does not exist");
});
