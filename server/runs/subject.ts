/** An open subject: base model, adapters, tokenizer and runner, and the cards that describe them. */
import { loadAdapter, type LoadedAdapter } from "../adapters/loadAdapter.ts";
import { WorkbenchError } from "../errors.ts";
import { hasTokenizer, openTokenizer, type Tokenizer } from "../formats/tokenizer.ts";
import { loadModel, type LoadedModel } from "../models/loadModel.ts";
import { blockParameters } from "../models/plan.ts";
import type { Engine, EngineName } from "../tensors/engine.ts";
import { chooseEngine, type EngineWish } from "../tensors/chooseEngine.ts";
import { createEngine } from "../tensors/providers.ts";
import { Runner } from "./runner.ts";
import type { AdapterCard, ModelCard, SubjectCard, SubjectRequest } from "./subjectRequest.ts";
import { atStrengths } from "./strengths.ts";
import type { AdapterSetting } from "./worlds.ts";

export interface Subject {
  readonly card: SubjectCard;
  readonly model: LoadedModel | null;
  readonly adapters: readonly LoadedAdapter[];
  readonly tokenizer: Tokenizer | null;
  /** Null without a base model. */
  readonly runner: Runner | null;
  /** Every adapter at the strength the request gives it. */
  readonly setting: AdapterSetting;
  /** A prompt as ids: text goes through the tokenizer, ids stay as they are. */
  encode(prompt: string | readonly number[]): { ids: number[]; tokens: string[] };
  tokenText(id: number): string;
}

export interface OpenOptions extends EngineWish {
  readonly engine?: EngineName;
}

const engines = new Map<string, Promise<Engine>>();

/** One engine a process for each name and number of threads: programs and wrapped weights are shared by all subjects. */
export async function sharedEngine(options: OpenOptions = {}): Promise<Engine> {
  const threads = options.threads === undefined ? {} : { threads: options.threads };
  const { engine } = await chooseEngine(options, (name) => {
    const key = `${name}/${options.threads ?? "auto"}`;
    const made = engines.get(key) ?? createEngine(name, threads);
    engines.set(key, made);
    made.catch(() => engines.delete(key));
    return made;
  });
  return engine;
}

/** @throws what loading the model, the adapters and the tokenizer throws; "adapter.malformed" when two adapters share a name */
export async function openSubject(request: SubjectRequest, options: OpenOptions = {}): Promise<Subject> {
  const model = request.model === null ? null : loadModel(request.model);
  const adapters = request.adapters.map((adapter) => loadAdapter(adapter.path, adapter.name, model));
  const names = adapters.map((adapter) => adapter.name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined) throw new WorkbenchError("adapter.malformed", `two adapters are called "${twice}"; give one of them another name`);
  refuseTwoReplacements(adapters);
  const tokenizer = request.model !== null && hasTokenizer(request.model) ? openTokenizer(request.model) : null;
  const runner = model
    ? new Runner(model, adapters, await sharedEngine({ ...options, model: { parameters: model.parameters, blockParameters: blockParameters(model.plan) } }))
    : null;
  const tokenText = (id: number) => tokenizer?.tokenText(id) ?? `#${id}`;
  const asTrained: Subject = {
    card: { request, model: model ? modelCard(model, tokenizer !== null) : null, adapters: adapters.map(adapterCard) },
    model,
    adapters,
    tokenizer,
    runner,
    setting: { strengths: {} },
    encode(prompt) {
      if (typeof prompt !== "string") return { ids: [...prompt], tokens: prompt.map(tokenText) };
      if (!tokenizer) throw new WorkbenchError("tokenizer.malformed", `${request.model ?? "the subject"} has no tokenizer.json; give the prompt as token ids`);
      return tokenizer.encode(prompt);
    },
    tokenText,
  };
  return atStrengths(asTrained, request);
}

/** PEFT refuses it, too: each would stand for a whole parameter, and no sum of the two means anything. @throws "adapter.unsupported" */
function refuseTwoReplacements(adapters: readonly LoadedAdapter[]): void {
  const owners = new Map<string, string>();
  for (const { name, saved } of adapters) {
    for (const { segment, param, key } of saved) {
      const other = owners.get(`${segment} ${param}`);
      if (other !== undefined)
        throw new WorkbenchError(
          "adapter.unsupported",
          `adapters "${other}" and "${name}" both replace "${key}" of the base (modules_to_save, trained biases or tokens); open one of them`,
        );
      owners.set(`${segment} ${param}`, name);
    }
  }
}

function modelCard(model: LoadedModel, hasTokenizerFile: boolean): ModelCard {
  const { config, family } = model;
  return {
    path: model.path,
    name: model.name,
    family: family.name,
    nLayers: config.nLayers,
    nHeads: config.nHeads,
    nKvHeads: config.nKvHeads,
    dModel: config.dModel,
    dVocab: config.dVocab,
    nCtx: config.nCtx,
    parameters: model.parameters,
    bytes: model.checkpoint.bytes,
    dtype: model.dtype,
    hasTokenizer: hasTokenizerFile,
    parity: `${family.name} as in transformers: logits within 1e-4 on the project's random checkpoints; not measured on this one`,
    warnings: model.notes,
  };
}

function adapterCard(adapter: LoadedAdapter): AdapterCard {
  const sites = [...adapter.sites.values()];
  const ranks = [...new Set(sites.map((site) => site.rank))].sort((a, b) => a - b);
  return {
    path: adapter.path,
    name: adapter.name,
    method: adapter.method.title,
    rank: ranks.length === 0 ? "none" : ranks.length === 1 ? String(ranks[0]) : `${ranks[0]} to ${ranks.at(-1)}`,
    scaling: scalingWords(adapter),
    strength: 1,
    sites: sites.length,
    parameters: adapter.parameters,
    baseName: adapter.config.baseModelNameOrPath ?? null,
    warnings: adapter.warnings,
  };
}

/** "α/r = 16/8 = 2", "α/√r = 16/√8 = 5.657", or the range when modules differ. */
export function scalingWords(adapter: LoadedAdapter): string {
  const sites = [...adapter.sites.values()];
  const distinct = [...new Map(sites.map((site) => [`${site.alpha}/${site.rank}`, site])).values()];
  const root = adapter.config.useRslora ? "√" : "";
  const one = distinct[0];
  if (!one) return "no low-rank site";
  const rule = `α/${root}r`;
  if (distinct.length > 1) return `${rule}, ${distinct.length} different values by module`;
  return `${rule} = ${one.alpha}/${root}${one.rank} = ${Number(one.scaling.toPrecision(4))}`;
}
