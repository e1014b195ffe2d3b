/** The programs of a training run: loss with its gradients, held-out scores, logits, and the inputs of the sites. */
import * as tf from "@tensorflow/tfjs-core";
import type { Tensor } from "@tensorflow/tfjs-core";
import { fullName } from "../models/siteNames.ts";
import { ConfigReads, programOf } from "../runs/configReads.ts";
import { asFloat, siteWords } from "../runs/segmentProgram.ts";
import type { Engine, HalfDtype, Signature, Tensors, TensorSpec, Weight } from "../tensors/engine.ts";
import { float32, int32, type FloatTensor, type HostTensor } from "../tensors/hostTensor.ts";
import type { RandomStream } from "../linalg/random.ts";
import { adaptedForward, forwardWeights, frozenTensors, siteTensors, siteWeight, type ForwardShape, type Hidden } from "./adaptedForward.ts";
import { trainedTensors, type Adaptation } from "./adaptation.ts";
import { crossEntropy, frozenCrossEntropy, logitsCrossEntropy, logitScores, targetScores } from "./crossEntropy.ts";
import { batchInputs, changeInputs, dropoutInputs, editTensors, forwardTensors, type RowChanges, type TokenBatch } from "./forwardInputs.ts";
import { lossRows } from "./lossRows.ts";
import { at } from "../at.ts";
import type { Batch } from "../data/example.ts";

export interface LossRequest {
  readonly batch: Batch;
  /** What each token's weight is multiplied by: 1 / (weights of the whole step). */
  readonly scale: number;
  /** Share of the penalty in this pass: 1 / passes of the step. */
  readonly penaltyScale: number;
  readonly dropout: number;
  readonly labelSmoothing: number;
  /** Of the dropout masks. */
  readonly random: RandomStream;
}

export interface LossAndGradients {
  readonly loss: number;
  readonly penalty: number;
  readonly gradients: Readonly<Record<string, Float32Array>>;
}

export class TrainingPrograms {
  readonly engine: Engine;
  readonly adaptation: Adaptation;
  #weights: Record<string, Weight> | null = null;

  constructor(engine: Engine, adaptation: Adaptation) {
    this.engine = engine;
    this.adaptation = adaptation;
  }

  /** After frozen tensors were put in place of others. */
  forgetWeights(): void {
    this.#weights = null;
  }

  /** Loss of one pass and its gradient by every trained tensor, in one program. */
  async lossAndGradients({ batch, scale, penaltyScale, dropout, labelSmoothing, random }: LossRequest): Promise<LossAndGradients> {
    const { adaptation } = this;
    const predicted = lossRows(batch, adaptation.head !== null);
    const tensors = trainedTensors(adaptation);
    const keys = tensors.map(({ key }) => key);
    const out = await this.#run(
      `loss ${labelSmoothing}`,
      batch,
      longest(batch),
      {
        ...predicted,
        lossScale: float32(
          predicted.lossScale.data.map((weight) => weight * scale),
          predicted.lossScale.shape,
        ),
        penaltyScale: float32(Float32Array.of(penaltyScale), []),
        ...dropoutInputs(adaptation, batch.rows * batch.positions, dropout, random),
      },
      ({ inputs, weights, reads }) => {
        const loss = (...values: Tensor[]): Tensor => {
          const trained: Tensors = Object.fromEntries(keys.map((key, i) => [key, at(values, i)]));
          const hidden = adaptedForward(adaptation, shapeOf(batch), forwardTensors(inputs, weights, trained), { reads });
          const task = this.#entropy(hidden, trained, inputs, labelSmoothing);
          const penalty = this.#penalty(trained, weights);
          return penalty ? tf.add(task, tf.mul(penalty, inputs["penaltyScale"]!)) : task;
        };
        const { value, grads } = tf.valueAndGrads(loss as (...values: Tensor[]) => tf.Scalar)(keys.map((key) => inputs[key]!));
        const penalty = this.#penalty(inputs, weights);
        return {
          "loss:all": value,
          ...(penalty ? { "loss:penalty": tf.mul(penalty, inputs["penaltyScale"]!) } : {}),
          ...Object.fromEntries(keys.map((key, i) => [`grad:${key}`, grads[i] ?? tf.zerosLike(inputs[key]!)])),
        };
      },
    );
    const penalty = out["loss:penalty"]?.data[0] ?? 0;
    return {
      loss: at(asFloat(out["loss:all"]).data, 0) - penalty,
      penalty,
      gradients: ownArrays(Object.fromEntries(keys.map((key) => [key, asFloat(out[`grad:${key}`]).data]))),
    };
  }

  /** Of each predicted row that has a weight: −log p(target) and whether the target was the likeliest; with its weight. */
  async scores(batch: Batch): Promise<{ nll: Float32Array; correct: Float32Array; weights: Float32Array }> {
    const { adaptation } = this;
    const predicted = lossRows(batch, adaptation.head !== null);
    const out = await this.#run("scores", batch, longest(batch), predicted, ({ inputs, weights, reads }) => {
      const hidden = adaptedForward(adaptation, shapeOf(batch), forwardTensors(inputs, weights, inputs), { reads });
      const rows = tf.gather(hidden.hidden, inputs["lossRows"]!);
      const targets = inputs["lossTargets"]!;
      const table = this.#table(hidden, inputs);
      if (!hidden.unembedDelta || adaptation.head) return targetScores({ hidden: rows, table, targets });
      return logitScores(
        tf.add(tf.matMul(rows, table as tf.Tensor2D, false, true), tf.gather(hidden.unembedDelta(hidden.hidden), inputs["lossRows"]!)),
        targets,
      );
    });
    return { nll: asFloat(out["nll"]).data, correct: asFloat(out["correct"]).data, weights: predicted.lossScale.data };
  }

  /**
   * Logits at one place of each row: `[rows, dVocab]`, or `[rows, labels]` for a classifier.
   * @param positions place in each row; the row's prompt ends there
   * @throws "hook.unknown", "site.unknown"
   */
  async logitsAt(batch: TokenBatch, positions: Int32Array, changes: RowChanges = {}): Promise<FloatTensor> {
    const { adaptation } = this;
    const chosen = Int32Array.from(positions, (position, row) => row * batch.positions + position);
    const lengths = Array.from(positions, (position) => position + 1);
    const more = { chosen: int32(chosen, [batch.rows]), ...changeInputs(changes) };
    const out = await this.#run("logits", batch, lengths, more, ({ inputs, weights, reads }) => {
      const hidden = adaptedForward(adaptation, shapeOf(batch), forwardTensors(inputs, weights, inputs), { reads, edits: editTensors(inputs) });
      const rows = tf.gather(hidden.hidden, inputs["chosen"]!);
      const logits = tf.matMul(rows, this.#table(hidden, inputs), false, true);
      return { logits: hidden.unembedDelta && !adaptation.head ? tf.add(logits, hidden.unembedDelta(rows)) : logits };
    });
    return asFloat(out["logits"]);
  }

  /** Inputs of every adapted site with all adapters off, `[rows · positions, dIn]`. */
  async siteInputs(batch: Batch): Promise<Map<string, FloatTensor>> {
    const { adaptation } = this;
    const out = await this.#run("inputs", batch, longest(batch), {}, ({ inputs, weights, reads }) => {
      // The base's own products reach the sites; what the adapters add there is multiplied by nothing, as B is zero or the site is off.
      const off = { ...adaptation, method: adaptation.method && { ...adaptation.method, delta: ({ base }: { base: Tensor }) => tf.zerosLike(base) } };
      const { inputs: found } = adaptedForward(off, shapeOf(batch), forwardTensors(inputs, weights, inputs), { reads });
      return Object.fromEntries([...found].map(([site, x]) => [`in:${site}`, x]));
    });
    return new Map(adaptation.sites.map(({ site }) => [site.name, asFloat(out[`in:${site.name}`])]));
  }

  /** Largest |x| at every hook, in the order of the forward pass; the mask's −∞ in attention scores is left out. */
  async hookMaxima(batch: Batch): Promise<{ hook: string; largest: number }[]> {
    const { adaptation } = this;
    const hooks = adaptation.model.plan.flatMap((segment) => segment.hooks.map(({ name }) => fullName(segment, name)));
    const taps = new Set(hooks.filter((name) => !name.endsWith("hook_attn_scores")));
    const out = await this.#run("maxima", batch, longest(batch), {}, ({ inputs, weights, reads }) => {
      const { hooks: found } = adaptedForward(adaptation, shapeOf(batch), forwardTensors(inputs, weights, inputs), { reads, taps });
      const kept = [...found];
      return Object.fromEntries(kept.map(([name, value]) => [`max:${name}`, tf.max(tf.abs(value))]));
    });
    return Object.entries(out).map(([name, { data }]) => ({ hook: name.slice("max:".length), largest: at(data, 0) }));
  }

  #table(hidden: Hidden, trained: Tensors): Tensor {
    return this.adaptation.head ? trained["score/weight"]! : hidden.unembedding;
  }

  #entropy(hidden: Hidden, trained: Tensors, inputs: Tensors, smoothing: number): Tensor {
    const { head, full } = this.adaptation;
    const rows = tf.gather(hidden.hidden, inputs["lossRows"]!);
    const given = { hidden: rows, table: this.#table(hidden, trained), targets: inputs["lossTargets"]!, scale: inputs["lossScale"]!, smoothing };
    if (head || full) return crossEntropy(given);
    if (!hidden.unembedDelta) return frozenCrossEntropy(given);
    const logits = tf.add(tf.matMul(rows, given.table as tf.Tensor2D, false, true), tf.gather(hidden.unembedDelta(hidden.hidden), inputs["lossRows"]!));
    return logitsCrossEntropy(logits, given.targets, given.scale, smoothing);
  }

  #penalty(trained: Tensors, weights: Tensors): Tensor | null {
    const { method, sites, options } = this.adaptation;
    if (!method?.penalty) return null;
    return method.penalty(
      sites.map((state) => ({
        site: state.site,
        trained: siteTensors(state, trained),
        frozen: frozenTensors(state, weights),
        weight: siteWeight(this.adaptation, state.site.name, weights),
      })),
      options,
    );
  }

  async #run(
    what: string,
    batch: TokenBatch,
    lengths: readonly number[],
    more: Readonly<Record<string, HostTensor>>,
    fn: (traced: { readonly inputs: Tensors; readonly weights: Tensors; readonly reads: ConfigReads }) => Tensors,
  ): Promise<Record<string, HostTensor>> {
    const { adaptation } = this;
    const { plan, config } = adaptation.model;
    const inputs: Record<string, HostTensor> = {
      ...batchInputs(adaptation, batch, lengths),
      ...Object.fromEntries(trainedTensors(adaptation).map(({ key, tensor }) => [key, tensor])),
      ...more,
    };
    this.#weights ??= forwardWeights(adaptation);
    const weights = this.#weights;
    const reads = new ConfigReads(
      config,
      plan.map(({ layer }) => layer),
    );
    const program = await programOf(this.engine, {
      code: plan.map(({ run }) => run),
      about: [
        "training",
        what,
        adaptation.methodName,
        JSON.stringify(adaptation.options),
        adaptation.sites.map(({ site }) => site.name).join(" "),
        adaptation.head ? "classifier" : "",
        plan.map((segment) => `${segment.id}: ${siteWords(segment)}`).join("; "),
      ].join(" | "),
      reads,
      fn: (given, frozen) => fn({ inputs: given, weights: frozen, reads }),
      signature: {
        inputs: Object.fromEntries(Object.entries(inputs).map(([name, { shape, dtype }]) => [name, { shape, dtype } satisfies TensorSpec])),
        ...weightSignature(weights),
        returnsMemory: true,
      },
    });
    return program.run(inputs, weights);
  }
}

/** The optimizer writes into gradients; a program may give one array for two of them. */
function ownArrays(arrays: Readonly<Record<string, Float32Array>>): Record<string, Float32Array> {
  const seen = new Set<Float32Array>();
  const own = (array: Float32Array): Float32Array => {
    if (seen.has(array)) return array.slice();
    seen.add(array);
    return array;
  };
  return Object.fromEntries(Object.entries(arrays).map(([key, array]) => [key, own(array)]));
}

function weightSignature(weights: Readonly<Record<string, Weight>>): Pick<Signature, "weights" | "halves"> {
  const halves: Record<string, HalfDtype> = Object.fromEntries(Object.entries(weights).flatMap(([name, { half }]) => (half ? [[name, half.dtype]] : [])));
  return { weights: Object.fromEntries(Object.entries(weights).map(([name, { shape }]) => [name, shape])), halves };
}

const shapeOf = ({ rows, positions }: TokenBatch): ForwardShape => ({ batch: rows, positions });

/** Tokens of the longest row of a batch, as transformers counts them: padding up to a round number is no part of a prompt. */
const longest = ({ last }: Batch): number[] => [Math.max(...last) + 1];
