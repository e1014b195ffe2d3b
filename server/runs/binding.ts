/** What a program is given: each tensor is named once, beside its value and the handle that its code reads it by. */
import type { Tensor } from "@tensorflow/tfjs-core";
import { WorkbenchError } from "../errors.ts";
import type { HalfDtype, Signature, Tensors, Weight } from "../tensors/engine.ts";
import type { HostTensor } from "../tensors/hostTensor.ts";

/** The tensors of a program while it is traced. */
export interface Given {
  readonly inputs: Tensors;
  readonly weights: Tensors;
}
export type Handle = (given: Given) => Tensor;

export class Binding {
  readonly inputs: Record<string, HostTensor> = {};
  readonly weights: Record<string, Weight> = {};

  /** A tensor that changes from run to run; the same name twice is one input. */
  input(name: string, value: HostTensor): Handle {
    this.inputs[name] = value;
    return ({ inputs }) => found(inputs, name);
  }

  /** A frozen tensor. */
  weight(name: string, value: Weight): Handle {
    this.weights[name] = value;
    return ({ weights }) => found(weights, name);
  }

  signature(): Signature {
    const weights = Object.entries(this.weights);
    return {
      inputs: Object.fromEntries(Object.entries(this.inputs).map(([name, { shape, dtype }]) => [name, { shape, dtype }])),
      weights: Object.fromEntries(weights.map(([name, { shape }]) => [name, shape])),
      halves: Object.fromEntries(weights.flatMap(([name, { half }]): [string, HalfDtype][] => (half ? [[name, half.dtype]] : []))),
    };
  }
}

function found(tensors: Tensors, name: string): Tensor {
  const tensor = tensors[name];
  if (!tensor) throw new WorkbenchError("internal", `a program reads "${name}", which it was not given`);
  return tensor;
}
