/** Checks a program's inputs and weights against its signature, once for every engine. */
import { WorkbenchError } from "../errors.ts";
import type { Signature, Weight } from "./engine.ts";
import type { HostTensor } from "./hostTensor.ts";

/** Signatures are asked for more than once a run, and have hundreds of tensors. */
const described = new WeakMap<Signature, string>();

export function programKey(key: string, signature: Signature): string {
  const shapes = described.get(signature) ?? shapesOf(signature);
  described.set(signature, shapes);
  return `${key}(${shapes})`;
}

function shapesOf(signature: Signature): string {
  const inputs = Object.entries(signature.inputs).map(([name, spec]) => `${name}:${spec.dtype}[${spec.shape.join(",")}]`);
  const weights = Object.entries(signature.weights).map(([name, shape]) => `${name}:${signature.halves?.[name] ?? "F32"}[${shape.join(",")}]`);
  return `${inputs.join(";")}|${weights.join(";")}`;
}

/** @throws "program.badInput" on the first tensor that is missing, unknown, or of another shape or dtype */
export function checkInputs(key: string, signature: Signature, inputs: Readonly<Record<string, HostTensor>>, weights: Readonly<Record<string, Weight>>): void {
  for (const [name, spec] of Object.entries(signature.inputs)) {
    const found = inputs[name];
    if (!found) throw new WorkbenchError("program.badInput", `program ${key}: input "${name}" is missing`);
    if (found.dtype !== spec.dtype || !sameShape(found.shape, spec.shape)) {
      throw new WorkbenchError(
        "program.badInput",
        `program ${key}: input "${name}" is ${found.dtype} [${found.shape.join(", ")}]; expected ${spec.dtype} [${spec.shape.join(", ")}]`,
      );
    }
  }
  for (const [name, shape] of Object.entries(signature.weights)) {
    const found = weights[name];
    if (!found) throw new WorkbenchError("program.badInput", `program ${key}: weight "${name}" is missing`);
    if (!sameShape(found.shape, shape)) {
      throw new WorkbenchError("program.badInput", `program ${key}: weight "${name}" is [${found.shape.join(", ")}]; expected [${shape.join(", ")}]`);
    }
    const half = signature.halves?.[name];
    if (half !== undefined && found.half?.dtype !== half) {
      throw new WorkbenchError("program.badInput", `program ${key}: weight "${name}" is ${found.half?.dtype ?? "F32"}; expected ${half}`);
    }
  }
}

export function sameShape(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((dim, i) => dim === b[i]);
}
