/** Writes what was trained as others read it: a PEFT folder, or a whole model when all weights were trained. */
import { copyFileSync, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { matchesTarget } from "../formats/targetMatcher.ts";
import { encodeSafetensors } from "../formats/safetensors.ts";
import { modelSites, modulePath as pathOf } from "../models/modelSites.ts";
import type { Adaptation } from "./adaptation.ts";
import { readJson } from "../formats/json.ts";
import { targetConfig } from "./adaptation.ts";

/** Files that a model folder needs beside its weights. */
const companions = ["generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt"];

/** Writes the folder under a temporary name and renames it, so that it is there whole or not at all. */
export function saveAdaptation(folder: string, adaptation: Adaptation): void {
  const temporary = `${folder}.tmp-${process.pid}`;
  rmSync(temporary, { recursive: true, force: true });
  mkdirSync(temporary, { recursive: true });
  if (adaptation.full) saveModel(temporary, adaptation);
  else saveAdapter(temporary, adaptation);
  rmSync(folder, { recursive: true, force: true });
  renameSync(temporary, folder);
}

function saveAdapter(folder: string, adaptation: Adaptation): void {
  const { method, options, sites, tasks, head, model } = adaptation;
  if (!method) return;
  const { config, tensors } = method.save(sites, options, tasks);
  const all = [...tensors];
  // PEFT keeps a trained head whole, under its own name.
  if (head) all.push(["base_model.model.score.weight", head]);
  const about = {
    base_model_name_or_path: model.path,
    task_type: head ? "SEQ_CLS" : "CAUSAL_LM",
    target_modules: targetNames(adaptation),
    fan_in_fan_out: sites.some(({ site }) => site.stored === "inOut"),
    bias: "none",
    inference_mode: true,
    modules_to_save: head ? ["score"] : null,
    ...config,
  };
  writeFileSync(join(folder, "adapter_config.json"), `${JSON.stringify(about, null, 2)}\n`);
  writeFileSync(
    join(folder, "adapter_model.safetensors"),
    encodeSafetensors(
      all.map(([name, { shape, data }]) => ({ name, shape, data })),
      { format: "pt" },
    ),
  );
  if (head) writeFileSync(join(folder, "labels.json"), `${JSON.stringify(adaptation.labels)}\n`);
}

/** Last parts of the modules' names when they mean exactly these sites, else whole paths. */
function targetNames({ model, sites }: Adaptation): string[] {
  const names = [...new Set(sites.map(({ site }) => site.modulePath.slice(site.modulePath.lastIndexOf(".") + 1)))].sort();
  const config = targetConfig({ targetModules: names, excludeModules: [], layers: null });
  const meant = modelSites(model.family, model.config).filter(({ modulePath }) =>
    matchesTarget(config, pathOf(model.family, modulePath), { isLinear: true, isOutputHead: false }),
  );
  return meant.length === sites.length ? names : sites.map(({ site }) => site.modulePath);
}

/** config.json with the type that the weights are written in: transformers would round them to the one of a half-precision base. */
function inFloat32(config: unknown): object {
  const fields = typeof config === "object" && config !== null ? config : {};
  return { ...fields, dtype: "float32", ...("torch_dtype" in fields ? { torch_dtype: "float32" } : {}) };
}

function saveModel(folder: string, { model, full }: Adaptation): void {
  const tensors = [...(full ?? [])].map(([key, { shape, data }]) => ({ name: pathOf(model.family, key), shape, data }));
  writeFileSync(join(folder, "model.safetensors"), encodeSafetensors(tensors, { format: "pt" }));
  writeFileSync(join(folder, "config.json"), `${JSON.stringify(inFloat32(readJson(join(model.path, "config.json"))), null, 2)}\n`);
  for (const name of companions) if (existsSync(join(model.path, name))) copyFileSync(join(model.path, name), join(folder, name));
}
