/**
 * Frozen weights as ONNX Runtime takes them.
 *
 * On the CPU a weight is fed as a view of the mapped checkpoint: nothing is copied, and nothing is kept, so that a
 * checkpoint can be unmapped once no run uses it; but for those that are used again and again and read better transposed, of
 * which a copy is kept within a bound. On WebGPU it is sent to the device once for its key, by a program that
 * returns its input and leaves it there, and the buffer is fed to every program after that.
 * CUDA has no such buffers in the Node binding: weights travel with each run.
 */
import type { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node";
import { transposed } from "../linalg/matrices.ts";
import type { Weight } from "./engine.ts";
import { Graph } from "./graph.ts";
import { float32, sizeOf } from "./hostTensor.ts";
import { LruCache } from "./lruCache.ts";
import type { Ort } from "./onnxProgram.ts";

/** A weight, and whether its program takes it in half precision as it is stored. */
export interface UsedWeight {
  readonly weight: Weight;
  readonly isHalf: boolean;
}

/** Runs of a weight before it is worth a copy: one pass over it costs more than a single run gains. */
const usesBeforeTurning = 3;
/** A forward pass of the deepest models runs some hundred programs; a weight that a thousand did not ask for is of another model. */
const callsBeforeForgetting = 1000;

interface TurnedWeight {
  readonly tensor: OrtTensor | null;
  readonly uses: number;
  /** Call in which it was last asked for. */
  readonly last: number;
}

export interface WeightBounds {
  /** Of the copies on a device. */
  readonly maxBytes: number;
  /** Of the transposed copies beside the checkpoint. */
  readonly maxTurnedBytes: number;
}

export class OnnxWeights {
  readonly #ort: Ort;
  readonly #turned = new Map<string, TurnedWeight>();
  readonly #maxTurnedBytes: number;
  #turnedBytes = 0;
  #calls = 0;
  readonly #uploadOptions: InferenceSession.SessionOptions | undefined;
  readonly #tensors: LruCache<Promise<OrtTensor>>;
  readonly #uploaders = new Map<string, Promise<InferenceSession>>();
  #running = 0;

  /** With `uploadOptions`, weights are kept on the device of those options' provider. */
  constructor(ort: Ort, { maxBytes, maxTurnedBytes }: WeightBounds, uploadOptions?: InferenceSession.SessionOptions) {
    this.#ort = ort;
    this.#maxTurnedBytes = maxTurnedBytes;
    this.#uploadOptions = uploadOptions && { ...uploadOptions, preferredOutputLocation: "gpu-buffer" };
    this.#tensors = new LruCache(Infinity, maxBytes, (tensor) => {
      void tensor.then(
        (one) => {
          one.dispose();
        },
        () => {},
      );
    });
  }

  /** Bytes of copies: on the device, or transposed. */
  get bytes(): number {
    return this.#tensors.bytes + this.#turnedBytes;
  }

  /** Counts a run of these weights. @returns whether each has had as many as make a copy worth its while */
  areOftenUsed(weights: readonly Weight[]): boolean {
    this.#calls++;
    let areOften = true;
    for (const { key } of weights) {
      const { tensor, uses } = this.#turned.get(key) ?? { tensor: null, uses: 0 };
      this.#turned.set(key, { tensor, uses: uses + 1, last: this.#calls });
      areOften &&= uses + 1 >= usesBeforeTurning;
    }
    return areOften;
  }

  /** Transposed copies of two-dimensional weights `[rows, columns]`, where all find room; null where they do not. */
  turned(weights: readonly Weight[]): OrtTensor[] | null {
    const missing = weights.reduce((sum, { key, shape }) => sum + (this.#turned.get(key)?.tensor ? 0 : 4 * sizeOf(shape)), 0);
    if (this.#turnedBytes + missing > this.#maxTurnedBytes) this.#forgetUnused();
    if (this.#turnedBytes + missing > this.#maxTurnedBytes) return null;
    return weights.map((weight) => {
      const known = this.#turned.get(weight.key);
      if (known?.tensor) return known.tensor;
      const [rows = 0, columns = 0] = weight.shape;
      const tensor = new this.#ort.Tensor("float32", transposed(weight.data(), rows, columns), [columns, rows]);
      this.#turned.set(weight.key, { uses: usesBeforeTurning, last: this.#calls, tensor });
      this.#turnedBytes += 4 * rows * columns;
      return tensor;
    });
  }

  /** Those of a model that nobody runs any more. */
  #forgetUnused(): void {
    for (const [key, { tensor, last }] of this.#turned) {
      if (this.#calls - last < callsBeforeForgetting) continue;
      this.#turned.delete(key);
      if (tensor) this.#turnedBytes -= 4 * sizeOf(tensor.dims);
    }
  }

  /** Runs `body` with the tensors of `weights`; none of them is given up meanwhile. */
  async use<T>(weights: readonly UsedWeight[], body: (tensors: OrtTensor[]) => Promise<T>): Promise<T> {
    this.#running++;
    try {
      return await body(await Promise.all(weights.map((used) => this.#tensor(used))));
    } finally {
      if (--this.#running === 0) this.#tensors.trim();
    }
  }

  #tensor({ weight, isHalf }: UsedWeight): Promise<OrtTensor> {
    if (!this.#uploadOptions) return Promise.resolve(isHalf ? this.#halfView(weight) : this.#view(weight));
    const known = this.#tensors.get(weight.key);
    if (known) return known;
    const made = this.#upload(weight, this.#uploadOptions);
    this.#tensors.add(weight.key, made, 4 * sizeOf(weight.shape));
    made.catch(() => {
      this.#tensors.delete(weight.key);
    });
    return made;
  }

  #halfView({ half, shape }: Weight): OrtTensor {
    return new this.#ort.Tensor(half!.dtype === "BF16" ? "uint16" : "float16", half!.bits(), shape);
  }

  #view(weight: Weight): OrtTensor {
    const { data } = float32(weight.data(), weight.shape);
    return new this.#ort.Tensor("float32", data, weight.shape);
  }

  async #upload(weight: Weight, options: InferenceSession.SessionOptions): Promise<OrtTensor> {
    // A device buffer cannot be empty.
    if (sizeOf(weight.shape) === 0) return this.#view(weight);
    const shape = weight.shape.join("x");
    let uploader = this.#uploaders.get(shape);
    if (!uploader) {
      const graph = new Graph({ fusedMatMul: false, broadcastPow: false, decodesHalves: false });
      const { bytes } = graph.toModel({ y: graph.input("x", weight.shape, "float32") });
      uploader = this.#ort.InferenceSession.create(bytes, options);
      this.#uploaders.set(shape, uploader);
    }
    const { y } = await (await uploader).run({ x: this.#view(weight) });
    return y!;
  }

  clear(): void {
    this.#tensors.clear();
    this.#turned.clear();
    this.#turnedBytes = 0;
    for (const uploader of this.#uploaders.values()) void uploader.then((session) => session.release()).catch(() => {});
    this.#uploaders.clear();
  }
}
