/** Writing safetensors, in the reference implementation's layout: widest dtype first, header padded to 8 bytes. */
import { randomUUID } from "node:crypto";
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { diskError } from "./diskFull.ts";
import { WorkbenchError } from "../errors.ts";
import { bf16FromFloats, f16FromFloats, safetensorsBits } from "./dtypeDecoding.ts";

export type WritableData = Float32Array | Int32Array;

export interface WritableTensor {
  readonly name: string;
  /** Without it, F32 for floats and I32 for integers. */
  readonly dtype?: "F32" | "BF16" | "F16" | "I32" | "I64";
  readonly shape: readonly number[];
  /** A function is called when its turn to be written comes, so a file larger than memory can be made. */
  readonly data: WritableData | (() => WritableData);
}

/** The whole file as bytes; for tensors that fit in memory twice. */
export function encodeSafetensors(tensors: Iterable<WritableTensor>, metadata?: Readonly<Record<string, string>>): Uint8Array<ArrayBuffer> {
  const { header, inOrder } = layout(tensors, metadata);
  const parts = [header, ...inOrder.map(encoded)];
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.byteLength, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.byteLength;
  }
  return bytes;
}

/** All of a file that comes before its numbers, which follow in the order given, as little-endian float32. */
export function float32Header(tensors: Iterable<Pick<WritableTensor, "name" | "shape">>): Uint8Array {
  const none = (): never => {
    throw new WorkbenchError("internal", "internal: a header has no numbers");
  };
  return layout(
    Array.from(tensors, ({ name, shape }) => ({ name, shape, dtype: "F32", data: none })),
    undefined,
  ).header;
}

/** Writes tensor by tensor to a temporary name beside `file`, then renames: a reader sees the old file or the whole new one. */
export function writeSafetensors(file: string, tensors: Iterable<WritableTensor>, metadata?: Readonly<Record<string, string>>): void {
  const { header, inOrder } = layout(tensors, metadata);
  const temporary = `${file}.${randomUUID()}.tmp`;
  const fd = openSync(temporary, "wx");
  try {
    try {
      writeAll(fd, header);
      for (const tensor of inOrder) writeAll(fd, encoded(tensor));
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw diskError(file, error);
  }
}

/** One write moves at most 2 GiB - 1. */
const writeChunkBytes = 2 ** 30;

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let done = 0; done < bytes.byteLength;) {
    done += writeSync(fd, bytes, done, Math.min(writeChunkBytes, bytes.byteLength - done));
  }
}

type Planned = WritableTensor & { readonly dtype: NonNullable<WritableTensor["dtype"]>; readonly bytes: number };

function layout(tensors: Iterable<WritableTensor>, metadata: Readonly<Record<string, string>> | undefined): { header: Uint8Array; inOrder: Planned[] } {
  const planned = Array.from(tensors, (tensor): Planned => {
    const dtype = tensor.dtype ?? inferredDtype(tensor);
    return { ...tensor, dtype, bytes: (elements(tensor) * safetensorsBits[dtype]) / 8 };
  });
  // Widest first keeps every tensor on a multiple of its item size.
  const inOrder = planned.toSorted((a, b) => safetensorsBits[b.dtype] - safetensorsBits[a.dtype]);
  const records = new Map<string, unknown>();
  if (metadata !== undefined) records.set("__metadata__", metadata);
  let at = 0;
  for (const { name, dtype, shape, bytes } of inOrder) {
    if (records.has(name) || name === "__metadata__") {
      throw new WorkbenchError("internal", `internal: tensor "${name}" is written twice or has a reserved name`);
    }
    records.set(name, { dtype, shape, data_offsets: [at, at + bytes] });
    at += bytes;
  }
  // Built by hand: an object literal would reorder names that look like numbers.
  const json = `{${Array.from(records, ([name, record]) => `${JSON.stringify(name)}:${JSON.stringify(record)}`).join(",")}}`;
  const text = new TextEncoder().encode(json);
  const padded = Math.ceil(text.byteLength / 8) * 8;
  const header = new Uint8Array(8 + padded).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(padded), true);
  header.set(text, 8);
  return { header, inOrder };
}

function inferredDtype({ name, data }: WritableTensor): "F32" | "I32" {
  if (typeof data === "function") throw new WorkbenchError("internal", `internal: tensor "${name}" gives its data later; expected a dtype`);
  return data instanceof Float32Array ? "F32" : "I32";
}

function encoded({ name, dtype, shape, data, bytes }: Planned): Uint8Array {
  const values = typeof data === "function" ? data() : data;
  const typed = encodedValues(values, dtype);
  if (typed === undefined || typed.byteLength !== bytes) {
    throw new WorkbenchError(
      "internal",
      `internal: tensor "${name}" has ${values.length} values in a ${values.constructor.name}; expected ${dtype} [${shape.join(", ")}]`,
    );
  }
  return new Uint8Array(typed.buffer, typed.byteOffset, typed.byteLength);
}

function encodedValues(values: WritableData, dtype: Planned["dtype"]): Float32Array | Int32Array | Uint16Array | BigInt64Array | undefined {
  if (values instanceof Float32Array) {
    switch (dtype) {
      case "F32":
        return values;
      case "BF16":
        return bf16FromFloats(values);
      case "F16":
        return f16FromFloats(values);
      default:
        return undefined;
    }
  }
  if (dtype === "I32") return values;
  return dtype === "I64" ? BigInt64Array.from(values, BigInt) : undefined;
}

function elements({ shape }: WritableTensor): number {
  return shape.reduce((product, dim) => product * dim, 1);
}
