/** Prompts whose behaviour is followed through a run: read once, run as one padded batch. */
import { WorkbenchError } from "../../errors.ts";
import { answerToken } from "../../formats/answerToken.ts";
import type { Tokenizer } from "../../formats/tokenizer.ts";
import { didYouMean } from "../../nearNames.ts";
import { float32, type FloatTensor } from "../../tensors/hostTensor.ts";
import type { Adaptation } from "../adaptation.ts";
import type { ProbeParams } from "../trainingParams.ts";
import type { TrainingPrograms } from "../trainingPrograms.ts";

export interface PinnedPrompt {
  readonly label: string;
  readonly ids: readonly number[];
  /** Token ids; label indices for a classifier. */
  readonly answer: number | null;
  readonly counterAnswer: number | null;
}

/** Positions are padded up to a multiple of this, so that few shapes of programs arise. */
const positionStep = 8;

export class PinnedPrompts {
  readonly prompts: readonly PinnedPrompt[];
  readonly #programs: TrainingPrograms;
  readonly #batch: { rows: number; positions: number; tokens: Int32Array; tasks: Int32Array };
  readonly #places: Int32Array;
  #base: readonly Float32Array[] | null = null;

  constructor(prompts: readonly PinnedPrompt[], programs: TrainingPrograms) {
    this.prompts = prompts;
    this.#programs = programs;
    const rows = prompts.length;
    const longest = Math.max(...prompts.map(({ ids }) => ids.length));
    const positions = Math.min(programs.adaptation.model.config.nCtx, Math.ceil(longest / positionStep) * positionStep);
    const tokens = new Int32Array(rows * positions);
    // Padding comes after the answer's place, where nothing sees it.
    prompts.forEach(({ ids }, row) => tokens.set(ids, row * positions));
    this.#batch = { rows, positions, tokens, tasks: new Int32Array(rows) };
    this.#places = Int32Array.from(prompts, ({ ids }) => ids.length - 1);
  }

  /** Logits after each prompt. @param on sites whose adapter acts */
  async logits(on: "all" | "none" | readonly string[]): Promise<readonly Float32Array[]> {
    const { data, shape } = await this.#programs.logitsAt(this.#batch, this.#places, on);
    const width = shape[1]!;
    return this.prompts.map((_, row) => data.subarray(row * width, (row + 1) * width));
  }

  /** Logits without the adapter, and with the head as it was when first asked for. */
  async base(): Promise<readonly Float32Array[]> {
    this.#base ??= (await this.logits("none")).map((row) => row.slice());
    return this.#base;
  }

  /** `[prompts, dVocab]` of `base` when a later run could not compute it again. */
  keptBase(): FloatTensor | null {
    if (!this.#base || (!this.#programs.adaptation.head && !this.#programs.adaptation.full)) return null;
    const width = this.#base[0]!.length;
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
