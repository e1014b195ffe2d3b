/** One compiled program: the model it lowers to, and the ONNX Runtime session that runs it while there is one. */
import type { InferenceSession, Tensor as OrtTensor, TypedTensor } from "onnxruntime-node";
import type { Signature } from "./engine.ts";
import type { HostTensor } from "./hostTensor.ts";

export type Ort = typeof import("onnxruntime-node");

export interface OutputSource {
  readonly kind: "input" | "output";
  readonly name: string;
}

/** A graph as ONNX Runtime takes it. */
export interface BuiltGraph {
  /** Of its session. */
  readonly key: string;
  readonly bytes: Uint8Array;
  readonly usedInputs: ReadonlySet<string>;
  /** Bytes that its session holds, about. */
  readonly held: number;
}

export interface BuiltModel {
  readonly graph: BuiltGraph;
  /** The same with some of its weights transposed; null when there are none to gain by it. */
  readonly turned: { readonly weights: readonly string[]; build(): BuiltGraph } | null;
  /** By output: the input or the computed output that it is. */
  readonly sources: Readonly<Record<string, OutputSource>>;
  readonly signature: Signature;
}

export function toOrt(ort: Ort, host: HostTensor): OrtTensor {
  return new ort.Tensor(host.dtype, host.data, host.shape);
}

export function toHost(name: string, tensor: OrtTensor): HostTensor {
  const shape = tensor.dims;
  switch (tensor.type) {
    case "float32":
      return { dtype: "float32", shape, data: (tensor as TypedTensor<"float32">).data };
    case "int32":
      return { dtype: "int32", shape, data: (tensor as TypedTensor<"int32">).data };
    case "bool":
      return { dtype: "bool", shape, data: (tensor as TypedTensor<"bool">).data };
    default:
      throw new Error(`internal: output ${name} is ${tensor.type}`);
  }
}

/**
 * A session and how many runs are inside it. ONNX Runtime must not free a session while it runs,
 * so a release asked for meanwhile happens after the last run.
 */
export class HeldSession {
  readonly #session: Promise<InferenceSession>;
  #running = 0;
  #released = false;
  #free: () => void = () => {};
  /** Resolved once ONNX Runtime has freed it. */
  readonly freed: Promise<void>;

  constructor(session: Promise<InferenceSession>) {
    this.#session = session;
    // The failure is reported to whoever runs; nobody may be waiting when it happens.
    session.catch(() => {});
    const asked = new Promise<void>((resolve) => {
      this.#free = resolve;
    });
    this.freed = asked.then(() => session.then((one) => one.release()).catch(() => {}));
  }

  get released(): boolean {
    return this.#released;
  }

  ready(): Promise<unknown> {
    return this.#session;
  }

  async run(feeds: Record<string, OrtTensor>): Promise<Readonly<Record<string, OrtTensor>>> {
    this.#running++;
    try {
      return await (await this.#session).run(feeds);
    } finally {
      this.#running--;
      if (this.#released && this.#running === 0) this.#free();
    }
  }

  release(): void {
    if (this.#released) return;
    this.#released = true;
    if (this.#running === 0) this.#free();
  }
}
