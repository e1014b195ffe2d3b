/** Prompts whose behaviour is followed through a run: read once, and run in worlds of the adapter as it is. */
import { at } from "../../at.ts";
import { WorkbenchError } from "../../errors.ts";
import { answerToken } from "../../formats/answerToken.ts";
import type { Tokenizer } from "../../formats/tokenizer.ts";
import { didYouMean } from "../../nearNames.ts";
import { baseSetting, type World } from "../../runs/worlds.ts";
import { float32, type FloatTensor } from "../../tensors/hostTensor.ts";
import type { Adaptation } from "../adaptation.ts";
import { liveLogits, type LiveAdapter } from "../liveWorlds.ts";
import type { ProbeParams } from "../trainingParams.ts";

export interface PinnedPrompt {
  readonly label: string;
  readonly ids: readonly number[];
  /** Token ids; label indices for a classifier. */
  readonly answer: number | null;
  readonly counterAnswer: number | null;
}

export class PinnedPrompts {
  readonly prompts: readonly PinnedPrompt[];
  /** The adapter as it is, at every site. */
  readonly on: World;
  readonly #live: LiveAdapter;
  #base: readonly Float32Array[] | null = null;

  constructor(prompts: readonly PinnedPrompt[], live: LiveAdapter) {
    this.prompts = prompts;
    this.#live = live;
    this.on = { setting: { strengths: { [live.name]: 1 } }, edits: [] };
  }

  /** The adapter on at one site alone. */
  alone(site: string): World {
    const { name, programs } = this.#live;
    const others = programs.adaptation.sites.filter((state) => state.site.name !== site);
    const components = others.map((state) => ({ adapter: name, site: state.site.name, component: null, value: 0 }));
    return { setting: { ...this.on.setting, components }, edits: [] };
  }

  /** Logits after each prompt, by world. */
  async logits(worlds: readonly World[]): Promise<ReadonlyMap<World, readonly Float32Array[]>> {
    const found = await liveLogits(this.#live, { prompts: this.prompts, worlds });
    return new Map(worlds.map((world, i) => [world, at(found, i)]));
  }

  /** Logits without the adapter, and with the head as it was when first asked for; where all weights are trained, of those weights then. */
  async base(): Promise<readonly Float32Array[]> {
    const off = this.#live.programs.adaptation.full ? this.on : { setting: baseSetting, edits: [] };
    this.#base ??= (await this.logits([off])).get(off) ?? [];
    return this.#base;
  }

  /** `[prompts, dVocab]` of `base` when a later run could not compute it again. */
  keptBase(): FloatTensor | null {
    const { head, full } = this.#live.programs.adaptation;
    if (!this.#base || (!head && !full)) return null;
    const width = this.#base[0]?.length ?? 0;
    const all = new Float32Array(this.#base.length * width);
    this.#base.forEach((row, i) => all.set(row, i * width));
    return float32(all, [this.#base.length, width]);
  }

  restoreBase({ data, shape }: FloatTensor): void {
    const width = shape[1]!;
    this.#base = this.prompts.map((_, row) => data.slice(row * width, (row + 1) * width));
  }
}

/** @throws "prompt.empty", "prompt.tooLong", "prompt.unknownToken", "training.badParams" */
export function readPinnedPrompts(
  given: ProbeParams["prompts"],
  tokenizer: Tokenizer,
  { model, labels }: Pick<Adaptation, "model" | "labels">,
): PinnedPrompt[] {
  const { nCtx } = model.config;
  return given.map(({ prompt, answer, counterAnswer }, i) => {
    const where = `probes.prompts[${i}]`;
    const { ids } = tokenizer.encode(prompt);
    if (ids.length === 0) throw new WorkbenchError("prompt.empty", `${where}: the text has no tokens`);
    if (ids.length > nCtx) throw new WorkbenchError("prompt.tooLong", `${where} has ${ids.length} tokens; ${model.name} takes at most ${nCtx}`);
    if (answer === null && counterAnswer !== null)
      throw new WorkbenchError("training.badParams", `${where}: counterAnswer is "${counterAnswer}" and answer is missing; expected both, or answer alone`);
    const read = (text: string | null, field: string) =>
      text === null ? null : labels.length > 0 ? labelIndex(labels, text, `${where}.${field}`) : answerToken(tokenizer, text, `${where}.${field}`);
    return { label: prompt, ids, answer: read(answer, "answer"), counterAnswer: read(counterAnswer, "counterAnswer") };
  });
}

function labelIndex(labels: readonly string[], label: string, where: string): number {
  const index = labels.indexOf(label);
  if (index < 0) throw new WorkbenchError("training.badParams", `${where}: "${label}" is no label of the data; ${didYouMean(label, labels)}`);
  return index;
}
