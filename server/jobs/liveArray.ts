/**
 * An array whose numbers come in tiles, kept in blocks: declaring gigabytes takes no time, and what has no numbers takes no memory.
 * The serving thread never fills or copies more than one block at a time.
 */
import { setImmediate as eventLoopTurn } from "node:timers/promises";
import type { NamedArray } from "../../probes/result.ts";

/** 256 KiB. */
const blockLength = 2 ** 16;
const blocksBetweenTurns = 32;

export class LiveArray {
  readonly shape: readonly number[];
  readonly axes: readonly string[];
  readonly #length: number;
  readonly #blocks = new Map<number, Float32Array>();

  /** @param data numbers that it begins with, which it goes on to write into */
  constructor({ shape, axes, data }: Pick<NamedArray, "shape" | "axes"> & { readonly data?: Float32Array }) {
    this.shape = shape;
    this.axes = axes;
    this.#length = shape.reduce((product, dim) => product * dim, 1);
    if (data) for (let at = 0; at < data.length; at += blockLength) this.#blocks.set(at, data.subarray(at, at + blockLength));
  }

  /** @throws RangeError when the tile is not inside the array */
  write(offset: number, tile: Float32Array): void {
    if (offset < 0 || offset + tile.length > this.#length)
      throw new RangeError(`internal: a tile of ${tile.length} at ${offset} does not fit an array of ${this.#length}`);
    for (let done = 0; done < tile.length;) {
      const inBlock = (offset + done) % blockLength;
      const part = tile.subarray(done, done + blockLength - inBlock);
      this.#blockAt(offset + done - inBlock).set(part, inBlock);
      done += part.length;
    }
  }

  /** The blocks that hold numbers, as tiles, NaN where none have come; they change as later ones are written. */
  *tiles(): Generator<{ readonly offset: number; readonly data: Float32Array }> {
    for (let offset = 0; offset < this.#length; offset += blockLength) {
      const data = this.#blocks.get(offset);
      if (data) yield { offset, data };
    }
  }

  /** All its numbers in order, a block at a time. */
  *chunks(): Generator<Float32Array> {
    for (let at = 0; at < this.#length; at += blockLength) yield this.#blocks.get(at) ?? nothing.subarray(0, this.#length - at);
  }

  /** As one piece; the event loop turns while a large one is put together. */
  async whole(): Promise<NamedArray> {
    const { shape, axes } = this;
    const only = this.#length <= blockLength ? this.#blocks.get(0) : undefined;
    if (only) return { shape, axes, data: only };
    const data = new Float32Array(this.#length);
    let at = 0;
    for (const chunk of this.chunks()) {
      data.set(chunk, at);
      at += chunk.length;
      if (at % (blocksBetweenTurns * blockLength) === 0) await eventLoopTurn();
    }
    return { shape, axes, data };
  }

  #blockAt(begin: number): Float32Array {
    let block = this.#blocks.get(begin);
    if (!block) {
      block = new Float32Array(Math.min(blockLength, this.#length - begin)).fill(NaN);
      this.#blocks.set(begin, block);
    }
    return block;
  }
}

const nothing = new Float32Array(blockLength).fill(NaN);
