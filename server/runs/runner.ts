/** Runs the forward pass stage by stage over a batch of worlds: from the tokens, or restarted at any layer. */
import type { LoadedAdapter } from "../adapters/loadAdapter.ts";
import { WorkbenchError } from "../errors.ts";
import type { Stage } from "../models/family.ts";
import type { LoadedModel } from "../models/loadModel.ts";
import { fullName } from "../models/modelSites.ts";
import { rotaryTables } from "../models/rope.ts";
import { didYouMean } from "../nearNames.ts";
import type { Engine } from "../tensors/engine.ts";
import { float32, int32, sizeOf, type FloatTensor, type HostTensor } from "../tensors/hostTensor.ts";
import { allHooks, hookPlace, hookShape, type HookPlace } from "./hookNames.ts";
import { activeSites, gateInput, maskInput, savedParams, stageProgram, strengthInput, tapOutput, valueInput } from "./stageProgram.ts";
import type { AdapterSetting, BatchEdit } from "./worlds.ts";

export interface ForwardRequest {
  /** Token ids, one row a world, all of one length; or the residual entering `startLayer`. */
  readonly tokens?: readonly (readonly number[])[];
  readonly resid?: { readonly startLayer: number; readonly value: FloatTensor };
  /** One a row, or one for all. */
  readonly settings: readonly AdapterSetting[];
  readonly edits?: readonly BatchEdit[];
  /** Full hook names. */
  readonly taps?: readonly string[];
  /** Where logits are wanted: every position, one position of each row, or nowhere. */
  readonly logits: "all" | "none" | { readonly position: number };
  readonly signal?: AbortSignal;
}

export interface ForwardResult {
  readonly taps: Readonly<Record<string, FloatTensor>>;
  /** `[batch, pos, dVocab]`; pos is 1 when one position was asked for. */
  readonly logits: FloatTensor | null;
}

export class Runner {
  readonly model: LoadedModel;
  readonly adapters: readonly LoadedAdapter[];
  readonly engine: Engine;
  readonly hooks: ReadonlyMap<string, HookPlace>;

  constructor(model: LoadedModel, adapters: readonly LoadedAdapter[], engine: Engine) {
    this.model = model;
    this.adapters = adapters;
    this.engine = engine;
    this.hooks = allHooks(model, adapters);
  }

  /** Bytes the taps of a request will hold, known before it runs. */
  tapBytes(taps: readonly string[], batch: number, positions: number): number {
    return taps.reduce((sum, name) => sum + 4 * sizeOf(hookShape(hookPlace(this.hooks, name), batch, positions)), 0);
  }

  /**
   * @throws "prompt.empty", "prompt.tooLong", "prompt.lengthMismatch", "prompt.unknownToken", "hook.unknown", "hook.badShape",
   *   "hook.neverFired", "adapter.unknown", "job.cancelled"
   */
  async forward(request: ForwardRequest): Promise<ForwardResult> {
    const { config } = this.model;
    const { batch, positions } = this.extent(request);
    const settings = this.settings(request.settings, batch);
    const taps = (request.taps ?? []).map((name) => hookPlace(this.hooks, name));
    const edits = (request.edits ?? []).map((edit) => ({ edit, place: hookPlace(this.hooks, edit.hook) }));
    const startLayer = request.resid?.startLayer ?? 0;
    for (const { name, stage, layer } of [...taps, ...edits.map(({ place }) => place)]) {
      if (request.resid && (stage === "embed" || (stage === "block" && layer < startLayer))) {
        throw new WorkbenchError("hook.neverFired", `hook "${name}" lies before layer ${startLayer}, where this run starts`);
      }
    }
    const collected: Record<string, FloatTensor> = {};
    const stage = async (kind: Stage, layer: number, input: Record<string, HostTensor>, rows: number): Promise<FloatTensor> => {
      if (request.signal?.aborted) throw new WorkbenchError("job.cancelled", "cancelled");
      const here = (place: HookPlace) => place.stage === kind && place.layer === layer;
      const stageTaps = taps.filter(here);
      const stageEdits = edits.filter(({ place }) => here(place));
      const output = await this.runStage(kind, layer, input, batch, rows, settings, stageTaps, stageEdits);
      for (const place of stageTaps) collected[place.name] = asFloat(output[tapOutput(place.local)]!);
      return asFloat(output["out"]!);
    };

    let resid: FloatTensor;
    if (request.resid) {
      resid = request.resid.value;
    } else {
      const ids = request.tokens!.flat();
      resid = await stage(
        "embed",
        0,
        {
          tokens: int32(ids, [batch, positions]),
          positionIds: int32(
            Array.from({ length: positions }, (_, p) => p),
            [positions],
          ),
        },
        positions,
      );
    }
    const rotary = config.rope ? rotaryInputs(rotaryTables(config.rope, positions), positions, config.dHead) : {};
    const needsUnembed = request.logits !== "none" || taps.some((place) => place.stage === "unembed");
    const lastLayer = needsUnembed ? config.nLayers - 1 : Math.max(-1, ...taps.map((place) => (place.stage === "block" ? place.layer : -1)));
    for (let layer = startLayer; layer <= lastLayer; layer++) {
      resid = await stage("block", layer, { resid, ...rotary }, positions);
    }
    if (!needsUnembed) return { taps: collected, logits: null };
    const atOne = typeof request.logits === "object" && !taps.concat(edits.map(({ place }) => place)).some((place) => place.stage === "unembed");
    const final = atOne ? takePosition(resid, (request.logits as { position: number }).position) : resid;
    const logits = await stage("unembed", 0, { resid: final }, atOne ? 1 : positions);
    if (request.logits === "none") return { taps: collected, logits: null };
    return { taps: collected, logits: typeof request.logits === "object" && !atOne ? takePosition(logits, request.logits.position) : logits };
  }

  /**
   * The logit lens: any residual straight through the final norm and the unembedding.
   * @param resid `[batch, pos, dModel]`
   * @returns `[batch, pos, dVocab]`
   */
  async readOut(resid: FloatTensor, settings: readonly AdapterSetting[]): Promise<FloatTensor> {
    const [batch, positions] = [resid.shape[0]!, resid.shape[1]!];
    const output = await this.runStage("unembed", 0, { resid }, batch, positions, this.settings(settings, batch), [], []);
    return asFloat(output["out"]!);
  }

  private async runStage(
    stage: Stage,
    layer: number,
    input: Record<string, HostTensor>,
    batch: number,
    positions: number,
    settings: readonly AdapterSetting[],
    taps: readonly HookPlace[],
    edits: readonly { edit: BatchEdit; place: HookPlace }[],
  ): Promise<Record<string, HostTensor>> {
    const forced = new Set(taps.concat(edits.map(({ place }) => place)).flatMap((place) => /\.lora\.([^.]+)\.hook_/.exec(place.local)?.[1] ?? []));
    const adapters = this.adapters.filter((adapter) => forced.has(adapter.name) || settings.some((setting) => (setting.strengths[adapter.name] ?? 0) !== 0));
    const plan = {
      model: this.model,
      stage,
      layer,
      batch,
      positions,
      adapters,
      taps: taps.map((place) => place.local),
      edits: edits.map(({ edit, place }) => {
        const shape = hookShape(place, batch, positions);
        checkEdit(edit, shape);
        return { hook: place.local, maskShape: [...shape.slice(0, -1), 1], valueShape: edit.value.shape };
      }),
    };
    const inputs: Record<string, HostTensor> = { ...input };
    const touching = new Set(savedParams(plan).map(({ adapter }) => adapter.name));
    for (const [siteName, actives] of activeSites(plan)) {
      for (const { adapter, site } of actives) {
        touching.add(adapter.name);
        inputs[gateInput(adapter.name, siteName)] = gates(settings, adapter.name, fullName(stage, layer, siteName), site.rank);
      }
    }
    for (const name of touching)
      inputs[strengthInput(name)] = float32(
        Float32Array.from(settings, (setting) => setting.strengths[name] ?? 0),
        [batch, 1, 1],
      );
    for (const { edit, place } of edits) {
      inputs[maskInput(place.local)] = edit.mask;
      inputs[valueInput(place.local)] = edit.value;
    }
    const { key, fn, signature, weights } = stageProgram(plan);
    const program = await this.engine.compile(key, fn, signature);
    return program.run(inputs, weights);
  }

  private extent(request: ForwardRequest): { batch: number; positions: number } {
    const { config, name } = this.model;
    if (request.resid) {
      const [batch, positions] = request.resid.value.shape;
      return { batch: batch!, positions: positions! };
    }
    const tokens = request.tokens ?? [];
    const positions = tokens[0]?.length ?? 0;
    if (tokens.length === 0 || positions === 0) throw new WorkbenchError("prompt.empty", "the prompt has no tokens; at least one is needed");
    if (tokens.some((row) => row.length !== positions))
      throw new WorkbenchError(
        "prompt.lengthMismatch",
        `prompts of one batch have ${[...new Set(tokens.map((row) => row.length))].join(" and ")} tokens; expected one length`,
      );
    if (positions > config.nCtx) throw new WorkbenchError("prompt.tooLong", `the prompt has ${positions} tokens; ${name} takes at most ${config.nCtx}`);
    for (const id of tokens.flat()) {
      if (!Number.isInteger(id) || id < 0 || id >= config.dVocab)
        throw new WorkbenchError("prompt.unknownToken", `token id ${id} is outside the vocabulary of ${name} (0 to ${config.dVocab - 1})`);
    }
    return { batch: tokens.length, positions };
  }

  private settings(given: readonly AdapterSetting[], batch: number): readonly AdapterSetting[] {
    if (given.length !== 1 && given.length !== batch) throw new WorkbenchError("internal", `${given.length} adapter settings for ${batch} rows`);
    for (const setting of given) {
      for (const name of [...Object.keys(setting.strengths), ...(setting.components ?? []).map((gate) => gate.adapter)]) {
        if (!this.adapters.some((adapter) => adapter.name === name)) {
          throw new WorkbenchError(
            "adapter.unknown",
            `adapter "${name}" is not open; ${didYouMean(
              name,
              this.adapters.map((adapter) => adapter.name),
            )}`,
          );
        }
      }
    }
    return given.length === batch ? given : Array.from({ length: batch }, () => given[0]!);
  }
}

/** Strength × gate of each component, one row a world: `[batch, 1, rank]`. */
function gates(settings: readonly AdapterSetting[], adapter: string, site: string, rank: number): FloatTensor {
  const data = new Float32Array(settings.length * rank);
  settings.forEach((setting, row) => {
    data.fill(setting.strengths[adapter] ?? 0, row * rank, (row + 1) * rank);
    for (const gate of setting.components ?? []) {
      if (gate.adapter !== adapter || gate.site !== site) continue;
      if (gate.component === null) {
        for (let k = 0; k < rank; k++) data[row * rank + k]! *= gate.value;
        continue;
      }
      if (gate.component >= rank) throw new WorkbenchError("site.unknown", `${site} of "${adapter}" has components 0 to ${rank - 1}; found ${gate.component}`);
      data[row * rank + gate.component]! *= gate.value;
    }
  });
  return float32(data, [settings.length, 1, rank]);
}

function checkEdit(edit: BatchEdit, shape: readonly number[]): void {
  const mask = [...shape.slice(0, -1), 1];
  const same = (found: readonly number[], expected: readonly number[], from: number) =>
    found.length === expected.length && found.slice(from).every((dim, i) => dim === expected[i + from]);
  if (!same(edit.mask.shape, mask, 0))
    throw new WorkbenchError("hook.badShape", `mask for "${edit.hook}" is [${edit.mask.shape.join(", ")}]; expected [${mask.join(", ")}]`);
  if (!same(edit.value.shape, shape, 1) || (edit.value.shape[0] !== 1 && edit.value.shape[0] !== shape[0])) {
    throw new WorkbenchError("hook.badShape", `value for "${edit.hook}" is [${edit.value.shape.join(", ")}]; expected [${shape.join(", ")}], or 1 row for all`);
  }
}

function rotaryInputs(tables: { cos: Float32Array; sin: Float32Array }, positions: number, dHead: number): Record<string, HostTensor> {
  return { cos: float32(tables.cos, [positions, dHead]), sin: float32(tables.sin, [positions, dHead]) };
}

/** `[batch, pos, d]` → `[batch, 1, d]` at one position. */
function takePosition(x: FloatTensor, position: number): FloatTensor {
  const [batch, positions, d] = [x.shape[0]!, x.shape[1]!, x.shape[2]!];
  const data = new Float32Array(batch * d);
  for (let row = 0; row < batch; row++) data.set(x.data.subarray((row * positions + position) * d, (row * positions + position + 1) * d), row * d);
  return float32(data, [batch, 1, d]);
}

export function asFloat(tensor: HostTensor): FloatTensor {
  if (tensor.dtype !== "float32") throw new WorkbenchError("internal", `expected a float32 tensor, found ${tensor.dtype}`);
  return tensor;
}
