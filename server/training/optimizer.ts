/** AdamW with decoupled decay over parameters that may change their shape: PyTorch's update, with each parameter's own rule. */
import type { ParameterRule } from "../adapters/method.ts";
import { WorkbenchError } from "../errors.ts";
import { float32, sizeOf, type FloatTensor } from "../tensors/hostTensor.ts";
import type { TrainedTensor } from "./adaptation.ts";
import type { OptimizerParams } from "./trainingParams.ts";

export interface Moments {
  /** Mean of gradients and of their squares, shaped like the parameter. */
  readonly m: FloatTensor;
  readonly v: FloatTensor;
  /** Updates it has had since its moments began. */
  steps: number;
}

export class AdamW {
  readonly #params: OptimizerParams;
  readonly #rules: Readonly<Record<string, ParameterRule>>;
  readonly #moments = new Map<string, Moments>();

  /** @param rules by `TrainedTensor.parameter` */
  constructor(params: OptimizerParams, rules: Readonly<Record<string, ParameterRule>>) {
    this.#params = params;
    this.#rules = rules;
  }

  get moments(): ReadonlyMap<string, Moments> {
    return this.#moments;
  }

  restore(key: string, moments: Moments): void {
    this.#moments.set(key, moments);
  }

  forget(key: string): void {
    this.#moments.delete(key);
  }

  /**
   * θ ← θ (1 − ηλ) − η m̂ / (√v̂ + ε), in place; then the rule's L1 step.
   * @param gradients by key; shortened in place to norm `clipNorm`
   * @returns the norm of all gradients before clipping
   * @see Loshchilov & Hutter 2017, arXiv 1711.05101, algorithm 2; torch/optim/adamw.py
   */
  update(tensors: readonly TrainedTensor[], gradients: Readonly<Record<string, Float32Array>>, scheduledRate: number): number {
    const norm = clip(Object.values(gradients), this.#params.clipNorm);
    for (const { key, parameter, tensor } of tensors) this.#updateOne(key, parameter, tensor, gradients[key]!, scheduledRate);
    return norm;
  }

  #updateOne(key: string, parameter: string, { data, shape }: FloatTensor, gradient: Float32Array, scheduledRate: number): void {
    const { beta1, beta2, epsilon, weightDecay, rates } = this.#params;
    const rule = this.#rules[parameter];
    if (!rule) throw new WorkbenchError("internal", `no rule for parameter "${parameter}"`);
    const rate = rule.learningRate ?? scheduledRate * (rates[parameter] ?? 1);
    const { m, v, steps } = this.#momentsOf(key, shape);
    const keep = rule.decays ? 1 - rate * weightDecay : 1;
    const stepSize = rate / (1 - beta1 ** steps);
    const rootCorrection = Math.sqrt(1 - beta2 ** steps);
    const shrink = rule.lasso ? rule.lasso.strength * (rule.lasso.timesRate ? rate : 1) : 0;
    const [first, second] = [m.data, v.data];
    for (let i = 0; i < data.length; i++) {
      const g = gradient[i]!;
      const mean = beta1 * first[i]! + (1 - beta1) * g;
      const square = beta2 * second[i]! + (1 - beta2) * g * g;
      first[i] = mean;
      second[i] = square;
      const moved = data[i]! * keep - (stepSize * mean) / (Math.sqrt(square) / rootCorrection + epsilon);
      data[i] = shrink === 0 ? moved : moved - shrink * Math.sign(moved);
    }
  }

  #momentsOf(key: string, shape: readonly number[]): Moments {
    let held = this.#moments.get(key);
    if (!held || sizeOf(held.m.shape) !== sizeOf(shape)) {
      held = { m: float32(new Float32Array(sizeOf(shape)), shape), v: float32(new Float32Array(sizeOf(shape)), shape), steps: 0 };
      this.#moments.set(key, held);
    }
    held.steps++;
    return held;
  }
}

/** Shortens all gradients together to `most`; returns their norm before. @see torch.nn.utils.clip_grad_norm_ */
function clip(gradients: readonly Float32Array[], most: number | null): number {
  let squares = 0;
  for (const gradient of gradients) for (let i = 0; i < gradient.length; i++) squares += gradient[i]! * gradient[i]!;
  const norm = Math.sqrt(squares);
  const factor = most === null ? 1 : most / (norm + 1e-6);
  if (factor < 1) for (const gradient of gradients) for (let i = 0; i < gradient.length; i++) gradient[i]! *= factor;
  return norm;
}
